"""A cluster of processes as rendered Pods would run them: their arguments, variables and files.

Files are where a Pod's volumes have them, in a folder of this machine; ports are free ones. What a
container is told is what its process is told, but for these two.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme

from deploy_check.check import ROOT, Wrong
from deploy_check.rendered import Manifest, PodSpec, manifests, pods_of
from penstock.process.lifetime import bound_command
from penstock.scheduler.store.embedded import valkey_binary

MODELS = ROOT / "examples/digits/models"
_NAMES = ("localhost", "127.0.0.1", "penstock.serving.svc")
_READY_S = 120.0


def until(condition: Callable[[], Any], what: str, within_s: float = _READY_S) -> Any:
    """What *condition* gives once that is something; `Wrong`, with *what*, if it takes too long."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise Wrong(f"not within {within_s:g} s: {what}")
        time.sleep(0.1)
    return found


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Member:
    """One container's process.

    Attributes:
        ports: those of the container, by name, -> those of this machine.
    """

    pod: str
    container: Mapping[str, Any]
    ports: Mapping[str, int]
    log: Path
    process: "subprocess.Popen[bytes]"

    def probe(self, kind: str) -> bool:
        """Whether the container's probe of this *kind* succeeds."""
        asked = self.container[kind]["httpGet"]
        url = f"http://127.0.0.1:{self.ports[asked['port']]}{asked['path']}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def said(self) -> str:
        """The end of what it has logged."""
        return self.log.read_text()[-2000:]

    def end(self, within_s: float = 60) -> int:
        """SIGTERM; its exit status."""
        self.process.terminate()
        return self.process.wait(within_s)


@dataclass
class Cluster:
    """Starts what *values* make of the chart, on a store of its own; all ends with the block.

    Attributes:
        folder: where all files are.
        members: what was started.
    """

    values: Path
    folder: Path = field(default_factory=Path)
    members: list[Member] = field(default_factory=list)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _secrets: dict[str, Path] = field(default_factory=dict)
    store: "subprocess.Popen[bytes]" = field(init=False)

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pdc-")))
        self._stack.callback(self._end_all)
        self.store = self._start_store()
        authority = trustme.CA()
        pair = authority.issue_cert(*_NAMES)
        ca = authority.cert_pem.bytes()
        self.secret("penstock-redis", url=self.url.encode())
        self.secret("penstock-ca", **{"ca.crt": ca})
        self.secret(
            "penstock-tls",
            **{
                "tls.crt": pair.cert_chain_pems[0].bytes(),
                "tls.key": pair.private_key_pem.bytes(),
                "ca.crt": ca,
            },
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def url(self) -> str:
        """The store's."""
        return f"unix://{self.folder}/valkey.sock"

    @property
    def pods(self) -> Iterator[PodSpec]:
        """Those that are rendered."""
        return pods_of(manifests(self.values))

    def manifest(self, kind: str) -> Manifest:
        """The one of this *kind* that is rendered."""
        (found,) = (one for one in manifests(self.values) if one["kind"] == kind)
        return found

    def secret(self, name: str, **content: bytes) -> Path:
        """Have a Secret, as a folder of files."""
        place = self._secrets[name] = self.folder / "secrets" / name
        place.mkdir(parents=True, exist_ok=True)
        for key, text in content.items():
            (place / key).write_bytes(text)
        return place

    def key(self, name: str, scope: str) -> str:
        """Make a key, and a Secret *name* that holds it; its text."""
        words = ("keys", "create", name, "--scope", scope, "--json")
        made = json.loads(self.penstock(*words, env={"PENSTOCK_REDIS": self.url}))
        self.secret(name, token=made["secret"].encode())
        return str(made["secret"])

    def penstock(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """What a command prints; `Wrong` where it fails."""
        command = [sys.executable, "-m", "penstock", *words]
        ended = subprocess.run(
            command,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        if ended.returncode != 0:
            raise Wrong(f"penstock {' '.join(words)}: {ended.stderr or ended.stdout}")
        return ended.stdout

    def start(self, pod: PodSpec) -> list[Member]:
        """Start each container of a Pod."""
        volumes = {one["name"]: self._place(pod, one) for one in pod.spec["volumes"]}
        started = [self._start(pod, one, volumes) for one in pod.spec["containers"]]
        self.members += started
        return started

    def ready(self) -> None:
        """Wait until all members are."""
        for one in self.members:

            def serves(one: Member = one) -> bool:
                if one.process.poll() is not None:
                    raise Wrong(f"{one.pod} ended with {one.process.returncode}: {one.said()}")
                return one.probe("readinessProbe")

            until(serves, f"{one.pod} is ready")

    def _place(self, pod: PodSpec, volume: Mapping[str, Any]) -> Path:
        """Where a volume is on this machine."""
        if "secret" in volume:
            name: str = volume["secret"]["secretName"]
            return self._secrets[name]
        if "persistentVolumeClaim" in volume:
            return MODELS
        place: Path = self.folder / "empty" / pod.name.replace("/", "-") / volume["name"]
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _start(
        self, pod: PodSpec, container: Mapping[str, Any], volumes: Mapping[str, Path]
    ) -> Member:
        ports = {one["name"]: free_port() for one in container["ports"]}
        numbers = {str(one["containerPort"]): str(ports[one["name"]]) for one in container["ports"]}
        mounts = {one["mountPath"]: str(volumes[one["name"]]) for one in container["volumeMounts"]}
        args = [_here(word, mounts, numbers) for word in container["args"]]
        variables = dict(self._variable(one, mounts) for one in container["env"])
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        log = self.folder / f"{len(self.members)}-{container['name']}-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", *container["command"], *args]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                env={**kept, **variables},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        return Member(pod.name, container, ports, log, process)

    def _variable(self, one: Mapping[str, Any], mounts: Mapping[str, str]) -> tuple[str, str]:
        if "value" in one:
            return one["name"], _here(one["value"], mounts, {})
        asked = one["valueFrom"]["secretKeyRef"]
        return one["name"], (self._secrets[asked["name"]] / asked["key"]).read_text()

    def _start_store(self) -> "subprocess.Popen[bytes]":
        options = ("--port", "0", "--save", "", "--dir", str(self.folder))
        path = f"{self.folder}/valkey.sock"
        words = (str(valkey_binary()), *options, "--unixsocket", path)
        process = subprocess.Popen(bound_command(*words), stdout=subprocess.DEVNULL)
        self._stack.callback(process.kill)
        until(Path(path).exists, "the store is there")
        return process

    def _end_all(self) -> None:
        for one in reversed(self.members):
            if one.process.poll() is None:
                one.process.terminate()
        for one in self.members:
            try:
                one.process.wait(30)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()


def _here(word: str, mounts: Mapping[str, str], ports: Mapping[str, str]) -> str:
    """A container's argument, with files and ports of this machine."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if option.endswith("port"):
        value = ports.get(value, value)
    for mount, place in mounts.items():
        if value == mount or value.startswith(f"{mount}/"):
            value = place + value.removeprefix(mount)
            break
    return f"{option}{equals}{value}"
