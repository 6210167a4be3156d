"""Runtimes: each holds one shard on one device, and runs it on arrays.

The only place that imports onnxruntime and torch, and only in the module of the runtime that is
asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from penstock.errors import ArtifactUnusable, InvalidRequest
from penstock.models.config.model_config import PYTHON
from penstock.models.files.artifacts import RUNTIMES
from penstock.protos import cluster_pb2
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.tensors import Array

ONNX = "onnxruntime"
TORCH = "pytorch"


Dimensions = tuple[str, ...]
"""Of one tensor: a number as text, the name or expression of a free size, "" where it has none."""


class InputRejected(InvalidRequest):
    """The shard refuses these inputs: a shape or a value that only it could know to be wrong."""


@dataclass(frozen=True, slots=True)
class DeviceRef:
    """Where a shard runs: "cpu" or "cuda", which one, and computing threads for a cpu."""

    kind: str
    index: int
    threads: int

    @classmethod
    def parse(cls, text: str, threads: int) -> "DeviceRef":
        """Read "cuda:1"."""
        kind, _, index = text.partition(":")
        return cls(kind, int(index or 0), threads)


class Runtime(Protocol):
    """One loaded shard."""

    @property
    def signature(self) -> cluster_pb2.Signature:
        """What it reads and writes; shapes have -1 where any size will do."""
        ...

    @property
    def dimensions(self) -> Mapping[str, Dimensions]:
        """What the artifact calls the sizes of each input and output."""
        ...

    @property
    def any_thread(self) -> bool:
        """Whether `run` may be called on another thread than the one that loaded it."""
        ...

    @property
    def fixed_work(self) -> bool:
        """Whether the shapes of its inputs tell how much a run computes, whatever they hold."""
        ...

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run once, on the calling thread.

        BF16 arrays are uint16, BYTES arrays hold bytes objects.

        Raises:
            InputRejected: the inputs are at fault.
            Exception: whatever the runtime raises when something else is.
        """
        ...

    def close(self) -> None:
        """End in order, on the thread that loaded it."""
        ...


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
    try:
        if runtime == ONNX:
            from penstock.workers.runtimes.onnx_runtime import OnnxRuntime

            return OnnxRuntime.open(artifact, device, config)
        if runtime == TORCH:
            from penstock.workers.runtimes.torch_runtime import TorchRuntime

            return TorchRuntime.open(artifact, device)
        if runtime == PYTHON:
            return _open_python(artifact, device, code_of)
    except ModuleNotFoundError as error:
        extra = "torch" if runtime == TORCH else "onnx"
        raise ArtifactUnusable(
            f"{artifact.name} needs {error.name}: pip install 'penstock[{extra}]'"
        ) from error
    raise ArtifactUnusable(
        f"{artifact.name}: unknown runtime '{runtime}', expected {ONNX}, {TORCH} or {PYTHON}"
    )


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


def _open_python(
    artifact: Path, device: DeviceRef, version: cluster_pb2.ModelVersion | None
) -> Runtime:
    if version is None:
        raise ArtifactUnusable(
            f"{artifact.name} is a Python model, which is code, and this node runs none: start it "
            "with --allow-python-models if you trust what is in the repository"
        )
    if version.files:
        raise ArtifactUnusable(f"{artifact.name} came over the network: such code is never run")
    from penstock.workers.runtimes.python_runtime import PythonRuntime

    return PythonRuntime.open(artifact, device, version)
