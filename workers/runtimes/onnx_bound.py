"""Artifacts that read and write buffers of ours, on the CPU: how they are opened and bound."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from penstock.errors import ArtifactUnusable
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.runtimes.runtime import DeviceRef

_CPU: Final = "cpu"


def opened(artifact: Path, threads: int) -> Any:
    """A session of *artifact*.

    Raises:
        ArtifactUnusable: it cannot be loaded.
    """
    # Importing it takes long, and workers of other runtimes import this module as well.
    import onnxruntime as ort

    from penstock.workers.runtimes.onnx_options import providers, session_options

    device, config = DeviceRef(_CPU, 0, threads), ModelConfig()
    try:
        return ort.InferenceSession(
            str(artifact), session_options(device, config), providers(device, config)
        )
    except Exception as error:  # the runtime raises what it likes
        raise ArtifactUnusable(
            f"{artifact.name} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error


def bind(to: Callable[..., None], name: str, array: npt.NDArray[Any]) -> None:
    """Bind *array*, which lies in one piece, by *to* of a session's binding."""
    to(name, _CPU, 0, array.dtype.type, array.shape, array.ctypes.data)
