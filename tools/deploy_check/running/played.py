"""A rendered Pod, started: gateway and node in one, as `nodePools[].withGateway` has them."""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
nodePools: [{ name: both, withGateway: true, shmMib: 1 }]
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
        pod.write_text(yaml.safe_dump(_pod(folder)))
        with valkey("--bind", "127.0.0.1", "--port", "6379", within=within):
            try:
                output_of(*within, "podman", "play", "kube", pod, within_s=120)
                inside = _Inside(within)
                wait_for("the model is ready", inside.is_ready, 120)
                before = inside.received()
                inside.python(_CALLS)
                _judge(inside.received() - before)
                wait_for("requests go past the store", lambda: inside.direct() > _TIMES / 2, 20)
            except Exception:
                for role in ("gateway", "node"):
                    print(logs_of(f"{_POD}-{role}"))
                raise
            finally:
                podman("pod", "rm", "--force", "--ignore", "--time", "5", _POD)
    return f"{2 * _TIMES} requests"


def _judge(received: int) -> None:
    most = _TIMES * 4 * _VALUES_EACH / 4
    require([f"the store got {received} bytes: large requests too"] if received > most else [])


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
    """One that sums what it is given."""
    import onnx
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", "count"])
    made = helper.make_tensor_value_info("total", TensorProto.FLOAT, ["batch", 1])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    node = helper.make_node("ReduceSum", ["values", "axes"], ["total"])
    graph = helper.make_graph([node], "sum", [given], [made], [axes])
    (folder / "1").mkdir(parents=True)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(
        helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "1" / "model.onnx"
    )


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
        target = "onnx" if one["name"] == "node" else "gateway"
        one["image"], one["imagePullPolicy"] = built(target).name, "Never"
        # podman would probe with curl, which no image has, and map ports of its own networks.
        for left_out in ("livenessProbe", "readinessProbe", "startupProbe", "ports"):
            one.pop(left_out, None)
        for variable in one["env"]:
            # podman 4.3 cannot read the Secrets that it makes of manifests.
            if variable.pop("valueFrom", None):
                variable["value"] = _STORE
    scheduler["args"] = [word.replace("8003", "8007") for word in scheduler["args"]]
    spec["containers"] = containers
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _POD}, "spec": spec}


class _Inside:
    """The gateway's container, asked from within its network."""

    def __init__(self, within: Sequence[str]) -> None:
        self._exec = (*within, "podman", "exec", f"{_POD}-gateway")

    def python(self, program: str) -> str:
        return output_of(*self._exec, "python", "-c", program)

    def is_ready(self) -> bool:
        versions = json.loads(output_of(*self._exec, "penstock", "status", "--json"))["versions"]
        return bool(versions) and all(one["state"] == "READY" for one in versions)

    def received(self) -> int:
        """Bytes that the store has had from all of its clients."""
        asked = "import redis; print(redis.Redis().info('stats')['total_net_input_bytes'])"
        return int(self.python(asked))

    def direct(self) -> int:
        """Jobs that the gateway handed over itself."""
        address = "http://127.0.0.1:8002/metrics"
        read = f"from urllib import request; print(request.urlopen({address!r}).read().decode())"
        lines = self.python(read).splitlines()
        counted = [line for line in lines if line.startswith("penstock_jobs_direct_total{")]
        return sum(int(float(line.split()[-1])) for line in counted)


CHECKS = (Check("a rendered Pod of gateway and node: direct, lent", _shares_memory, long=True),)
