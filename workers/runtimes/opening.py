"""Opens an artifact with the runtime that it is for, whose module is imported only then."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from penstock.errors import ArtifactUnusable
from penstock.models.config.model_config import LANGUAGE, PYTHON
from penstock.models.files.artifacts import RUNTIMES
from penstock.process.blas_threads import use_blas_threads
from penstock.protos import cluster_pb2
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.runtimes.python.code import is_tritons
from penstock.workers.runtimes.python.environment import enter_environment
from penstock.workers.runtimes.runtime import DeviceRef, Runtime

ONNX: Final = "onnxruntime"
TORCH: Final = "pytorch"


def open_runtime(
    artifact: Path,
    runtime: str,
    device: DeviceRef,
    code_of: cluster_pb2.ModelVersion | None = None,
    config: ModelConfig | None = None,
) -> Runtime:
    """Load *artifact* on *device*.

    Args:
        config: what its owner says to the runtime; None for nothing.
        code_of: the version whose Python code may be run; None where no such code may.

    Raises:
        ArtifactUnusable: with what is wrong, and what to do.
    """
    if not artifact.is_file():
        raise ArtifactUnusable(f"{artifact} is missing: put it back, or export it again")
    _check_kind(artifact, runtime)
    config = config or ModelConfig()
    if runtime != ONNX:
        _check_for_onnx(artifact, config)
    if runtime not in _RUNTIMES:
        raise ArtifactUnusable(
            f"{artifact.name}: unknown runtime '{runtime}', expected {ONNX}, {TORCH} or {PYTHON}"
        )
    open_artifact, extra = _RUNTIMES[runtime]
    try:
        return open_artifact(artifact, device, config, code_of)
    except ModuleNotFoundError as error:
        raise ArtifactUnusable(
            f"{artifact.name} needs {error.name}: pip install 'penstock[{extra}]'"
        ) from error


def _check_kind(artifact: Path, runtime: str) -> None:
    """Refuse to run a file as something that its name does not say: data would become code."""
    suffixes = {suffix for suffix, of in (*RUNTIMES.items(), (".py", PYTHON)) if of == runtime}
    if suffixes and artifact.suffix not in suffixes:
        raise ArtifactUnusable(
            f"{artifact.name} is not for {runtime}, which runs {', '.join(suffixes)}"
        )


def _check_for_onnx(artifact: Path, config: ModelConfig) -> None:
    """Refuse what only ONNX Runtime could do."""
    asked = config.optimization
    if asked.graph.level or asked.HasField("execution_accelerators"):
        raise ArtifactUnusable(
            f"optimization.graph and .execution_accelerators are for ONNX models, and "
            f"{artifact.name} is none: remove them"
        )


_Version = cluster_pb2.ModelVersion


def _open_onnx(
    artifact: Path, device: DeviceRef, config: ModelConfig, _: _Version | None
) -> Runtime:
    from penstock.workers.runtimes.onnx_runtime import OnnxRuntime

    return OnnxRuntime.open(artifact, device, config)


def _open_torch(artifact: Path, device: DeviceRef, _: ModelConfig, __: _Version | None) -> Runtime:
    from penstock.workers.runtimes.torch_runtime import TorchRuntime

    return TorchRuntime.open(artifact, device)


def _open_python(
    artifact: Path, device: DeviceRef, _: ModelConfig, version: _Version | None
) -> Runtime:
    if version is None:
        raise ArtifactUnusable(
            f"{artifact.name} is a Python model, which is code, and this node runs none: start it "
            "with --allow-python-models if you trust what is in the repository"
        )
    if version.files:
        raise ArtifactUnusable(f"{artifact.name} came over the network: such code is never run")
    use_blas_threads(device.threads)
    enter_environment(ModelConfig.FromString(version.config), artifact.parent.parent)
    if is_tritons(artifact):
        from penstock.workers.runtimes.triton_python.runtime import TritonRuntime

        return TritonRuntime.open(artifact, device, version)
    from penstock.workers.runtimes.python.runtime import PythonRuntime

    return PythonRuntime.open(artifact, device, version)


MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    ONNX: ("penstock.workers.runtimes.onnx_runtime",),
    TORCH: (
        "penstock.workers.runtimes.torch_runtime",
        # What torch imports when it loads the first program; half of a start.
        "torch._export.db.logging",
        "torch._export.passes.add_runtime_assertions_for_constraints_pass",
        "torch._export.passes.collect_tracepoints_pass",
        "torch._export.serde.serialize",
        "torch._functorch._aot_autograd.graph_compile",
        "torch._functorch.aot_autograd",
        "torch._functorch.partitioners",
        "torch._inductor.codecache",
        "torch.export._trace",
        "torch.export._unlift",
        "torch.export.passes",
        "torch.export.pt2_archive._package",
    ),
    PYTHON: ("penstock.workers.runtimes.python.runtime",),
    LANGUAGE: ("onnxruntime", "penstock.workers.runtimes.onnx_options"),
}
"""What is imported before an artifact can run, by runtime."""

_Open = Callable[[Path, DeviceRef, ModelConfig, _Version | None], Runtime]

_RUNTIMES: Final[Mapping[str, tuple[_Open, str]]] = {
    ONNX: (_open_onnx, "onnx"),
    TORCH: (_open_torch, "torch"),
    PYTHON: (_open_python, "server"),
}
"""What opens an artifact, and the extra of pyproject.toml that installs what that needs."""
