"""A rolling update as Kubernetes does it, by the chart's commands, under clients that never pause.

What a kubelet and kube-proxy do is done to processes of this machine: another Pod starts and is
ready; of the one that leaves, the address goes a second later, preStop sleeps, then comes SIGTERM.
Clients have one address, that of haproxy, and keep their connections, as behind a Service.
"""

import contextlib
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deploy_check.check import ROOT, Check, require
from deploy_check.rendered import manifests, pods_of
from deploy_check.running.callers import Callers
from deploy_check.running.engine import needed, wait_for
from deploy_check.running.proxy import Proxy, proxy
from deploy_check.running.roles import Role
from deploy_check.running.stores import free_ports, valkey

_MODELS = ROOT / "examples" / "digits" / "models"
_VALUES = """\
redis: { secret: penstock-redis }
models: { claim: penstock-models }
# Connections of stock clients end, orderly, each second, and preStop waits until all of them have.
gateway: { insecure: true, auth: none, maxConnectionAgeSeconds: 1, preStopSeconds: 7 }
nodePools: [{ name: cpu }]
"""
_KINDS = ("gateway", "scheduler", "cpu")
_HEARD_S = 1.0
"""How long it takes until nobody connects any more to a Pod that is to end."""


class Rolling:
    """A cluster of such processes."""

    def __init__(self, folder: Path, url: str, entry: Proxy) -> None:
        self._folder = folder
        self._url = url
        self._entry = entry
        values = folder / "values.yaml"
        values.write_text(_VALUES)
        found = {one.name.rpartition("-")[2]: one.spec for one in pods_of(manifests(values))}
        self._specs = {kind: found[kind] for kind in _KINDS}
        self.running: dict[str, list[Role]] = {kind: [] for kind in _KINDS}
        self.faults: list[str] = []

    def add(self, *kinds: str) -> None:
        """Start one more of each, and wait until their readiness probes would succeed."""
        added = [(kind, self._start(kind)) for kind in kinds]
        for kind, role in added:
            role.wait_until_ready()
            if kind == "gateway":
                self._entry.add(role.port)

    def _start(self, kind: str) -> Role:
        (container,) = self._specs[kind]["containers"]
        name = f"{kind}-{time.monotonic_ns()}"
        role = Role(self._folder, name, _here(container["args"], name), self._url)
        self.running[kind].append(role)
        return role

    def remove(self, kind: str) -> None:
        """End the oldest of *kind*, as a Pod is ended."""
        role, spec = self.running[kind].pop(0), self._specs[kind]
        grace_s = spec["terminationGracePeriodSeconds"]
        if kind == "gateway":
            leaving = threading.Timer(_HEARD_S, partial(self._entry.remove, role.port))
            leaving.start()
            slept_s = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            time.sleep(slept_s)
            grace_s -= slept_s
        if (status := role.end(grace_s)) != 0:
            self.faults.append(f"{kind} ended with status {status}: {role.log()[-2000:]}")

    def end(self) -> None:
        """End all that is left, at once."""
        for roles in self.running.values():
            for role in roles:
                role.kill()


def _here(words: Sequence[str], name: str) -> list[str]:
    """The words of a container, but for where it serves, and where its models are."""
    ports = iter(free_ports(len(words)))
    found = [
        re.sub(r"^(--\w*-?port)=\d+$", lambda match: f"{match[1]}={next(ports)}", word)
        for word in words
    ]
    found = [re.sub(r"^(--[\w-]*host)=0\.0\.0\.0$", r"\1=127.0.0.1", word) for word in found]
    found = [word.replace("=/models", f"={_MODELS}") for word in found]
    # A node's name is that of its Pod.
    return [*found, f"--node={name}"] if words[0] == "node" else found


@contextlib.contextmanager
def _cluster(*kinds: str) -> Iterator[tuple[Rolling, str]]:
    needed("haproxy")
    (port,) = free_ports(1)
    with (
        tempfile.TemporaryDirectory(prefix="penstock-rolling-") as name,
        valkey("--bind", "127.0.0.1", "--port", str(port)),
        proxy(Path(name)) as entry,
    ):
        rolling = Rolling(Path(name), f"redis://127.0.0.1:{port}", entry)
        try:
            rolling.add(*kinds)
            wait_for("the models are ready", lambda: _ready(entry.address), 120)
            yield rolling, entry.address
        finally:
            rolling.end()


def _ready(address: str) -> bool:
    import tritonclient.grpc as triton

    client: Any = triton.InferenceServerClient(address)
    try:
        return bool(client.is_model_ready("digits"))
    except triton.InferenceServerException as error:
        raise ValueError(str(error)) from None
    finally:
        client.close()


def _update(*kinds: str) -> str:
    """Replace each of *kinds*, one after the other."""
    more = ["gateway"] if kinds.count("gateway") == 1 else []
    with _cluster(*kinds, *more) as (rolling, address), Callers(address) as callers:
        callers.wait_for_more(200)
        for kind in kinds:
            rolling.add(kind)
            rolling.remove(kind)
            callers.wait_for_more(100)
        faults = [*rolling.faults, *callers.end()]
    require(faults)
    return f"{callers.answered} requests, 0 errors"


_ONE = ("scheduler", "cpu", "gateway")
_ALL = ("scheduler", "scheduler", "cpu", "cpu", "gateway", "gateway", "gateway")
CHECKS = (
    Check("an update of one gateway, scheduler and node: no error", partial(_update, *_ONE)),
    Check("an update of all roles: no error", partial(_update, *_ALL), long=True),
)
