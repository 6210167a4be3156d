"""What config.pbtxt says to ONNX Runtime: its session's options and its providers.

Names and values are those of Triton's ONNX Runtime backend. What reaches ONNX Runtime is an
allow-list, since some of its settings load libraries and write files, and a configuration may come
over the network. Other keys of `parameters` are the owner's own, and are left alone.
"""

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import onnxruntime as ort

from penstock.errors import ArtifactUnusable
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.runtimes.accelerator_options import CUDA_PARAMETERS, accelerator_options
from penstock.workers.runtimes.runtime import DeviceRef

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
OPENVINO: Final = "OpenVINOExecutionProvider"

_LEVELS: Final = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_MODES: Final = (ort.ExecutionMode.ORT_SEQUENTIAL, ort.ExecutionMode.ORT_PARALLEL)
_ERRORS, _FATAL = 3, 4
"""Severities of ONNX Runtime's own log, which goes to standard error, coloured."""

_SPIN_US: Final = "100"
"""How long a thread looks for its share of the next operator, and sleeps then."""

_SHRINKAGE: Final = "memory.enable_memory_arena_shrinkage"
_INITIALIZERS: Final = "session.use_device_allocator_for_initializers"

_PARAMETERS: Final = frozenset(
    {
        *("intra_op_thread_count", "inter_op_thread_count", "execution_mode"),
        *("enable_mem_arena", "enable_mem_pattern", _INITIALIZERS, _SHRINKAGE, *CUDA_PARAMETERS),
    }
)
_RUNTIMES_OWN: Final = ("session.", "memory.", "ep.", "optimization.", "trt_")
"""How the names begin that ONNX Runtime gives to its settings; some of these load code."""

_CUDA_DEFAULTS: Final = {"cudnn_conv_algo_search": "HEURISTIC"}
"""ONNX Runtime's own default tries each algorithm with each new batch size, inside a request."""

_ARENAS: Final = re.compile(r"(cpu|gpu):\d+(;(cpu|gpu):\d+)*")


def load_cuda(device: DeviceRef) -> None:
    """Load CUDA's libraries for a *device* of it, so that ONNX Runtime finds NVIDIA's wheels.

    Torch brings these. Where there are none, it looks where the system has such libraries.
    """
    if device.kind != "cuda":
        return
    # It prints what it has not found; what is missing then is in the error of the session.
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls(directory="")


def session_options(device: DeviceRef, config: ModelConfig) -> Any:
    """How the session computes.

    Raises:
        ArtifactUnusable: a parameter or a level has a value that it cannot have, or a parameter
            is one of ONNX Runtime's own that is not taken.
    """
    _check_parameters(config)
    options = ort.SessionOptions()
    options.intra_op_num_threads = _number(config, "intra_op_thread_count") or device.threads
    options.inter_op_num_threads = _number(config, "inter_op_thread_count") or 1
    # What it says of failures is in the errors that it raises, but for a GPU that it cannot use.
    options.log_severity_level = _ERRORS if device.kind == "cuda" else _FATAL
    ort.set_default_logger_severity(options.log_severity_level)
    # Threads that spin for longer, or between runs, burn the cores that other workers and the
    # gateway compute on; those that never spin have to be woken for each operator.
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    level = config.optimization.graph.level
    if level not in _LEVELS:
        raise ArtifactUnusable(
            f"optimization.graph.level must be -1, 0, 1 or 2 for an ONNX model, got {level}"
        )
    options.graph_optimization_level = _LEVELS[level]
    options.execution_mode = _MODES[bool(_switch(config, "execution_mode"))]
    for name in ("enable_mem_arena", "enable_mem_pattern"):
        wanted = _switch(config, name)
        if wanted is not None:
            setattr(options, "enable_cpu_mem_arena" if name == "enable_mem_arena" else name, wanted)
    if _switch(config, _INITIALIZERS):
        options.add_session_config_entry(_INITIALIZERS, "1")
    return options


def run_options(config: ModelConfig) -> Any:
    """How each run is to be done; None for as always."""
    shrinkage = _parameter(config, _SHRINKAGE)
    if not shrinkage:
        return None
    options = ort.RunOptions()
    options.add_run_config_entry(_SHRINKAGE, shrinkage)
    return options


def providers(device: DeviceRef, config: ModelConfig) -> list[tuple[str, dict[str, str]]]:
    """Execution providers with their options, the preferred first; the CPU's is always the last.

    Raises:
        ArtifactUnusable: an accelerator or an option of one is not there.
    """
    accelerators = config.optimization.execution_accelerators
    found: list[tuple[str, dict[str, str]]] = []
    cuda = {"device_id": str(device.index), **_CUDA_DEFAULTS}
    if device.kind == "cuda":
        for one in accelerators.gpu_execution_accelerator:
            options = accelerator_options("gpu", one.name, one.parameters)
            if one.name == "tensorrt":
                found.append((TENSORRT, {"device_id": str(device.index), **options}))
            cuda |= options if one.name == "cuda" else {}
        deprecated = {name: _parameter(config, name) for name in CUDA_PARAMETERS}
        given = {name: value for name, value in deprecated.items() if value}
        cuda |= accelerator_options("gpu", "cuda", given)
        found.append((CUDA, cuda))
    else:
        found += [
            (OPENVINO, accelerator_options("cpu", one.name, one.parameters))
            for one in accelerators.cpu_execution_accelerator
        ]
    available = ort.get_available_providers()
    for name, _ in found:
        if name not in (CUDA, *available):
            raise ArtifactUnusable(
                f"this ONNX Runtime has no {name}: install a build that has it, or remove "
                "optimization.execution_accelerators"
            )
    return [*found, (CPU, {})]


def check_providers(
    session: Any, wanted: Sequence[tuple[str, Mapping[str, str]]], artifact: str
) -> None:
    """Refuse a session that goes on without a provider that cannot start.

    Raises:
        ArtifactUnusable: *session*, of *artifact*, has one less than was wanted.
    """
    there = session.get_providers()
    for name, _ in wanted:
        if name == CUDA and name not in there:
            raise ArtifactUnusable(
                f"ONNX Runtime cannot use the GPU on {artifact}: check that CUDA and cuDNN "
                "are those that onnxruntime-gpu needs, or set instance_group kind: KIND_CPU"
            )
        if name not in there:
            raise ArtifactUnusable(
                f"{name} cannot start on {artifact}: install its libraries, or remove "
                "optimization.execution_accelerators"
            )


def _check_parameters(config: ModelConfig) -> None:
    for name in sorted(config.parameters):
        if name.startswith(_RUNTIMES_OWN) and name not in _PARAMETERS:
            raise ArtifactUnusable(
                f"parameters: '{name}' is not among those that reach ONNX Runtime; "
                f"they are {', '.join(sorted(_PARAMETERS))}: remove it"
            )
    shrinkage = _parameter(config, _SHRINKAGE)
    if shrinkage and _ARENAS.fullmatch(shrinkage) is None:
        raise ArtifactUnusable(
            f"parameters.{_SHRINKAGE} must be as in cpu:0 or cpu:0;gpu:0, got '{shrinkage}'"
        )


def _parameter(config: ModelConfig, name: str) -> str:
    """The value of a parameter; empty when it is not there."""
    return config.parameters[name].string_value if name in config.parameters else ""


def _number(config: ModelConfig, name: str) -> int:
    value = _parameter(config, name)
    if value and not (value.isascii() and value.isdigit()):
        raise ArtifactUnusable(f"parameters.{name} must be a number of 0 or more, got '{value}'")
    return int(value or 0)


def _switch(config: ModelConfig, name: str) -> bool | None:
    """Whether it is on; None when nothing is said."""
    value = _parameter(config, name)
    if value not in ("", "0", "1"):
        raise ArtifactUnusable(f"parameters.{name} must be 0 or 1, got '{value}'")
    return value == "1" if value else None
