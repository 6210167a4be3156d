"""What config.pbtxt says to ONNX Runtime: its session's options and its providers.

Names and values are those of Triton's ONNX Runtime backend. Keys of `parameters` that mean nothing
to it are the owner's own, and are left alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import onnxruntime as ort

from penstock.errors import ArtifactUnusable
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.runtimes import DeviceRef

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
_SPIN_US: Final = "100"
"""How long a thread looks for its share of the next operator, and sleeps then."""

_SHRINKAGE: Final = "memory.enable_memory_arena_shrinkage"
_INITIALIZERS: Final = "session.use_device_allocator_for_initializers"

# Values that Triton writes as numbers.
_CUDA_NUMBERS: Final[dict[str, tuple[str, ...]]] = {
    "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
    "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
}
_CUDA_PARAMETERS: Final = (*_CUDA_NUMBERS, "gpu_mem_limit", "do_copy_in_default_stream")
_CUDA_OPTIONS: Final = frozenset(
    {
        *_CUDA_PARAMETERS,
        "cudnn_conv_use_max_workspace",
        "cudnn_conv1d_pad_to_nc1d",
        "use_ep_level_unified_stream",
        "use_tf32",
        "prefer_nhwc",
        "fuse_conv_bias",
        "tunable_op_enable",
        "tunable_op_tuning_enable",
        "enable_skip_layer_norm_strict_mode",
    }
)
_TENSORRT_NAMES: Final = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
_PRECISIONS: Final[dict[str, dict[str, str]]] = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}
_NATIVE_CODE: Final = "trt_extra_plugin_lib_paths"


def session_options(device: DeviceRef, config: ModelConfig) -> Any:
    """How the session computes.

    Raises:
        ArtifactUnusable: a parameter or a level has a value that it cannot have.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = _number(config, "intra_op_thread_count") or device.threads
    options.inter_op_num_threads = _number(config, "inter_op_thread_count") or 1
    options.log_severity_level = 3
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
    cuda = {"device_id": str(device.index)}
    if device.kind == "cuda":
        for one in accelerators.gpu_execution_accelerator:
            options = _option_reader(one.name, _GPU)(one.parameters)
            if one.name == "tensorrt":
                found.append((TENSORRT, {"device_id": str(device.index), **options}))
            cuda |= options if one.name == "cuda" else {}
        deprecated = {name: _parameter(config, name) for name in _CUDA_PARAMETERS}
        cuda |= _cuda({name: value for name, value in deprecated.items() if value})
        found.append((CUDA, cuda))
    else:
        found += [
            (OPENVINO, _option_reader(one.name, _CPUS)(one.parameters))
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


def _cuda(parameters: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parameters.items():
        if name not in _CUDA_OPTIONS:
            raise _unknown("cuda", name, _CUDA_OPTIONS)
        numbered = _CUDA_NUMBERS.get(name, ())
        number = int(value) if value.isdigit() else len(numbered)
        found[name] = numbered[number] if number < len(numbered) else value
    return found


def _tensorrt(parameters: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parameters.items():
        if name == "precision_mode" and value in _PRECISIONS:
            found |= _PRECISIONS[value]
        elif name in _TENSORRT_NAMES:
            found[_TENSORRT_NAMES[name]] = value
        elif name.startswith("trt_") and name != _NATIVE_CODE:
            found[name] = value
        else:
            raise _unknown("tensorrt", f"{name}: {value}", {"precision_mode", *_TENSORRT_NAMES})
    return found


def _openvino(parameters: Mapping[str, str]) -> dict[str, str]:
    for name in parameters:
        raise _unknown("openvino", name, ())
    return {}


_Reader = Callable[[Mapping[str, str]], dict[str, str]]
_GPU: Final[dict[str, _Reader]] = {"cuda": _cuda, "tensorrt": _tensorrt}
_CPUS: Final[dict[str, _Reader]] = {"openvino": _openvino}


def _option_reader(name: str, known: Mapping[str, _Reader]) -> _Reader:
    if name not in known:
        raise ArtifactUnusable(
            f"optimization.execution_accelerators: '{name}' is not supported; "
            f"there is {' and '.join(known)}"
        )
    return known[name]


def _unknown(
    accelerator: str, what: str, known: frozenset[str] | set[str] | tuple[()]
) -> Exception:
    there = f"it has {', '.join(sorted(known))}" if known else "it has none"
    return ArtifactUnusable(
        f"optimization.execution_accelerators: {accelerator} has no parameter '{what}'; {there}"
    )


def _parameter(config: ModelConfig, name: str) -> str:
    """The value of a parameter; empty when it is not there."""
    return config.parameters[name].string_value if name in config.parameters else ""


def _number(config: ModelConfig, name: str) -> int:
    said = _parameter(config, name)
    if said and not (said.isascii() and said.isdigit()):
        raise ArtifactUnusable(f"parameters.{name} must be a number of 0 or more, got '{said}'")
    return int(said or 0)


def _switch(config: ModelConfig, name: str) -> bool | None:
    """Whether it is on; None when nothing is said."""
    said = _parameter(config, name)
    if said not in ("", "0", "1"):
        raise ArtifactUnusable(f"parameters.{name} must be 0 or 1, got '{said}'")
    return said == "1" if said else None
