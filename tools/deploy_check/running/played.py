"""A rendered Pod, started: gateway and node in one, as `nodePools[].withGateway` has them."""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy_check.check import Check, output_of, require
from deploy_check.rendered import manifests, pods_of
from deploy_check.running.engine import logs_of, needed, podman, prepare, wait_for
from deploy_check.running.images import built
from deploy_check.running.stores import valkey

_NETWORK = f"penstock-check-{os.getpid()}"
_POD = "penstock-check-pod"
_STORE = "redis://127.0.0.1:6379"
_VALUES = """\
redis: { secret: penstock-redis }
models: { claim: penstock-models }
gateway: { insecure: true, auth: none }
nodePools: [{ name: both, withGateway: true, pythonModels: true, shmMib: 1 }]
"""
_CONFIG = """\
backend: "python"
max_batch_size: 8
input { name: "values" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "total" data_type: TYPE_FP32 dims: [ 1 ] }
"""
_MODEL = """\
class Model:
    def execute(self, inputs, parameters):
        return {"total": inputs["values"].sum(axis=1, keepdims=True)}
"""
_VALUES_EACH, _TIMES = 100_000, 40
# Small ones one after the other, which a sleeping worker has at once; then large ones.
_CALLS = f"""
import numpy as np
from penstock.client import Client
with Client("127.0.0.1:8001") as client:
    for count in (4, {_VALUES_EACH}):
        for number in range({_TIMES}):
            values = np.full((1, count), number % 7, np.float32)
            answer = client.infer("sum", {{"values": values}})
            assert answer["total"].tolist() == [[count * (number % 7)]], answer
"""


def _shares_memory() -> str:
    """Both containers see each other, so that requests go past the store, and payloads stay put."""
    prepare()
    needed("catatonit", "ip", "nsenter")
    with tempfile.TemporaryDirectory(prefix="penstock-pod-") as name, _network() as within:
        folder = Path(name)
        folder.chmod(0o755)
        _write_model(folder / "models" / "sum")
        pod = folder / "pod.yaml"
        pod.write_text(yaml.safe_dump_all([_secret(), _pod(folder)]))
        with valkey("--bind", "127.0.0.1", "--port", "6379", within=within):
            try:
                output_of(*within, "podman", "play", "kube", pod, within_s=120)
                wait_for("the model is ready", _is_ready, 120)
                before = _received()
                podman("exec", f"{_POD}-gateway", "python", "-c", _CALLS)
                _judge(_received() - before, _direct())
            except Exception:
                for role in ("gateway", "node"):
                    print(logs_of(f"{_POD}-{role}"))
                raise
            finally:
                podman("pod", "rm", "--force", "--ignore", "--time", "5", _POD)
    return f"{2 * _TIMES} requests"


def _judge(received_bytes: int, direct: int) -> None:
    faults = []
    if received_bytes > _TIMES * 4 * _VALUES_EACH / 4:
        faults.append(f"the store received {received_bytes} bytes: large requests went through it")
    if direct < _TIMES / 2:
        faults.append(f"{direct} of {2 * _TIMES} requests were handed to a sleeping worker")
    require(faults)


@contextlib.contextmanager
def _network() -> Iterator[tuple[str, ...]]:
    """What runs a command in a network of its own, whose ports are all free."""
    output_of("ip", "netns", "add", _NETWORK)
    try:
        output_of("ip", "-n", _NETWORK, "link", "set", "lo", "up")
        yield ("nsenter", f"--net=/run/netns/{_NETWORK}")
    finally:
        subprocess.run(["ip", "netns", "delete", _NETWORK], check=False)


def _write_model(folder: Path) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(_CONFIG)
    (folder / "1" / "model.py").write_text(_MODEL)


def _secret() -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "penstock-redis"},
        "stringData": {"url": _STORE},
    }


def _pod(folder: Path) -> Mapping[str, Any]:
    """The Pod that helm renders, with this machine's images, models and network.

    And a scheduler, which the chart has in Pods of its own.
    """
    values = folder / "values.yaml"
    values.write_text(_VALUES)
    specs = {one.name.rpartition("-")[2]: dict(one.spec) for one in pods_of(manifests(values))}
    spec, scheduler = specs["both"], specs["scheduler"]["containers"][0]
    spec["hostNetwork"] = True
    for volume in spec["volumes"]:
        if volume.pop("persistentVolumeClaim", None):
            volume["hostPath"] = {"path": str(folder / "models"), "type": "Directory"}
    containers = [*spec["containers"], scheduler]
    for one in containers:
        one["image"], one["imagePullPolicy"] = built("gateway").name, "Never"
        # podman would ask with curl, which no image has.
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            one.pop(probe, None)
    scheduler["args"] = [word.replace("8003", "8007") for word in scheduler["args"]]
    spec["containers"] = containers
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _POD}, "spec": spec}


def _is_ready() -> bool:
    told = json.loads(podman("exec", f"{_POD}-gateway", "penstock", "status", "--json"))
    versions = told["versions"]
    return bool(versions) and all(one["state"] == "READY" for one in versions)


def _in_the_pod(program: str) -> str:
    return podman("exec", f"{_POD}-gateway", "python", "-c", program)


def _received() -> int:
    """Bytes that the store has had from all of its clients."""
    asked = "import redis; r = redis.Redis(); print(r.info('stats')['total_net_input_bytes'])"
    return int(_in_the_pod(asked))


def _direct() -> int:
    """Jobs that the gateway handed over itself."""
    address = "http://127.0.0.1:8002/metrics"
    read = f"from urllib import request; print(request.urlopen({address!r}).read().decode())"
    lines = _in_the_pod(read).splitlines()
    return sum(
        int(float(line.split()[-1]))
        for line in lines
        if line.startswith("penstock_jobs_direct_total{")
    )


CHECKS = (Check("a rendered Pod of gateway and node: direct, lent", _shares_memory, long=True),)
