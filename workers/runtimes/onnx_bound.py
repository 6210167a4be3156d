"""Artifacts that read and write buffers of ours: how they are opened and bound.

Bindings are addresses. On a GPU nothing of such a graph may be computed elsewhere: what the
processor computed would be carried there and back with each run.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from penstock.errors import ArtifactUnusable, first_line
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.runtimes.runtime import DeviceRef

CPU: Final = "cpu"
CUDA: Final = "cuda"

_RECORD_PLACES: Final = "session.record_ep_graph_assignment_info"
_SHRINKS: Final = "memory.enable_memory_arena_shrinkage"
_OF_SIZES: Final = frozenset({"Shape", "Squeeze", "Range"})
"""Operations that ONNX Runtime leaves to the processor, since they compute a few sizes alone."""

_ON: Final = ("1", "true", "True")
_Providers = list[tuple[str, dict[str, str]]]
_NONE: Final[Mapping[str, str]] = {}
_EXACT: Final = {"arena_extend_strategy": "kSameAsRequested"}


def opened(
    name: str,
    model: Path | bytes,
    device: DeviceRef,
    config: ModelConfig | None = None,
    *,
    exact_memory: bool = False,
) -> Any:
    """A session of *model*, a file or what would be in one, all of it on *device*.

    Args:
        name: of the model, for errors.
        config: what its owner says to CUDA; None for nothing. TF32 is off unless it is asked for.
        exact_memory: it takes as much of a device's memory as is needed, where it grows seldom.

    Raises:
        ArtifactUnusable: it cannot be loaded there; says what to do.
    """
    # ONNX Runtime takes long to import, and workers of other runtimes import this module as well.
    from penstock.workers.runtimes.onnx_options import check_providers, load_cuda

    load_cuda(device)
    wanted = providers_of(device, config, _EXACT if exact_memory else _NONE)
    try:
        session = _session(model, device, wanted)
    except Exception as error:  # the runtime raises what it likes
        raise ArtifactUnusable(f"{name} cannot be loaded: {first_line(error)}") from error
    check_providers(session, wanted, name)
    if device.kind == CUDA:
        _check_places(session, name, wanted[0][0])
    return session


def bind(to: Callable[..., None], name: str, array: npt.NDArray[Any]) -> None:
    """Bind *array*, which lies in one piece, by *to* of a session's binding."""
    to(name, CPU, 0, array.dtype.type, array.shape, array.ctypes.data)


def bind_at(
    to: Callable[..., None], device: DeviceRef, shape: tuple[int, ...], address: int
) -> None:
    """Bind float32 numbers of *shape* that lie at *address* of *device*; *to* knows the name."""
    to(device.kind, device.index, np.float32, shape, address)


def providers_of(
    device: DeviceRef, config: ModelConfig | None, more: Mapping[str, str] = _NONE
) -> _Providers:
    """What computes on *device*, with its options, and *more* of CUDA's; as `opened` has them.

    Raises:
        ArtifactUnusable: *config* asks for what there is not.
    """
    from penstock.workers.runtimes.onnx_options import CUDA as CUDA_PROVIDER
    from penstock.workers.runtimes.onnx_options import TENSORRT, providers

    if device.kind != CUDA:
        return providers(device, ModelConfig())
    found = providers(device, config or ModelConfig())
    if any(name == TENSORRT for name, _ in found):
        raise ArtifactUnusable(
            "language models are computed by CUDA: remove tensorrt from "
            "optimization.execution_accelerators"
        )
    # Logs promise bits, so nobody rounds what is multiplied unless that is asked for.
    return [
        (name, {"use_tf32": "0", **options, **more} if name == CUDA_PROVIDER else options)
        for name, options in found
    ]


def giving_back(device: DeviceRef) -> Any:
    """How a run is done that gives back what it took of *device*, beyond what is bound."""
    import onnxruntime as ort

    options = ort.RunOptions()
    kind = "gpu" if device.kind == CUDA else device.kind
    options.add_run_config_entry(_SHRINKS, f"{kind}:{device.index}")
    return options


def uses_tf32(session: Any) -> bool:
    """Whether *session* may round what it multiplies to 19 bits, as GPUs can."""
    from penstock.workers.runtimes.onnx_options import CUDA as CUDA_PROVIDER

    options = session.get_provider_options().get(CUDA_PROVIDER, {})
    return options.get("use_tf32", "0") in _ON


def elsewhere(parts: Iterable[Any], provider: str) -> list[str]:
    """Operations that are not computed by *provider* though they compute more than sizes.

    Args:
        parts: of a graph, as ONNX Runtime assigned them.
    """
    nodes = [node for part in parts if part.ep_name != provider for node in part.get_nodes()]
    return sorted({node.op_type for node in nodes} - _OF_SIZES)


def _session(model: Path | bytes, device: DeviceRef, wanted: _Providers) -> Any:
    import onnxruntime as ort

    from penstock.workers.runtimes.onnx_options import session_options

    options = session_options(device, ModelConfig())
    if device.kind == CUDA:
        options.add_session_config_entry(_RECORD_PLACES, "1")
    return ort.InferenceSession(str(model) if isinstance(model, Path) else model, options, wanted)


def _check_places(session: Any, name: str, provider: str) -> None:
    """Refuse a session that computes on the processor what lies on a device."""
    import onnxruntime as ort

    left = elsewhere(session.get_provider_graph_assignment_info(), provider)
    if left:
        raise ArtifactUnusable(
            f"ONNX Runtime {ort.__version__} cannot compute all of {name} on a GPU: it has no "
            f"kernel there for {', '.join(left)}. Set instance_group kind: KIND_CPU, or install a "
            "newer onnxruntime-gpu"
        )
