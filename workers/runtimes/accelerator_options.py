"""Accelerators' parameters in config.pbtxt, as options of ONNX Runtime's execution providers.

An allow-list of names, each with the values that it may have. None of them names a file: TensorRT
loads libraries and runs engines from wherever it is told to.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from penstock.errors import ArtifactUnusable

_NUMBER: Final = re.compile(r"\d{1,20}")
_SWITCH: Final = re.compile(r"[01]|[Tt]rue|[Ff]alse")
_WORDS: Final = re.compile(r"[^\0]{1,4096}")
_FILE_NAME: Final = re.compile(r"[^/\\\0.][^/\\\0]*")

# Values that Triton writes as numbers.
_CUDA_NUMBERS: Final[dict[str, tuple[str, ...]]] = {
    "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
    "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
}
CUDA_PARAMETERS: Final = (*_CUDA_NUMBERS, "gpu_mem_limit", "do_copy_in_default_stream")
"""Options of CUDA that older configurations have among `parameters`."""

_CUDA: Final[dict[str, re.Pattern[str]]] = {
    **{name: re.compile("|".join(values)) for name, values in _CUDA_NUMBERS.items()},
    "gpu_mem_limit": _NUMBER,
    "do_copy_in_default_stream": _SWITCH,
    "cudnn_conv_use_max_workspace": _SWITCH,
    "cudnn_conv1d_pad_to_nc1d": _SWITCH,
    "use_ep_level_unified_stream": _SWITCH,
    "use_tf32": _SWITCH,
    "prefer_nhwc": _SWITCH,
    "fuse_conv_bias": _SWITCH,
    "tunable_op_enable": _SWITCH,
    "tunable_op_tuning_enable": _SWITCH,
    "enable_skip_layer_norm_strict_mode": _SWITCH,
}
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
_TENSORRT: Final[dict[str, re.Pattern[str]]] = {
    "trt_max_workspace_size": _NUMBER,
    "trt_max_partition_iterations": _NUMBER,
    "trt_min_subgraph_size": _NUMBER,
    "trt_fp16_enable": _SWITCH,
    "trt_bf16_enable": _SWITCH,
    "trt_int8_enable": _SWITCH,
    "trt_int8_calibration_table_name": _FILE_NAME,
    "trt_int8_use_native_calibration_table": _SWITCH,
    "trt_dla_enable": _SWITCH,
    "trt_dla_core": _NUMBER,
    "trt_engine_cache_enable": _SWITCH,
    "trt_engine_hw_compatible": _SWITCH,
    "trt_timing_cache_enable": _SWITCH,
    "trt_force_timing_cache": _SWITCH,
    "trt_force_sequential_engine_build": _SWITCH,
    "trt_context_memory_sharing_enable": _SWITCH,
    "trt_layer_norm_fp32_fallback": _SWITCH,
    "trt_build_heuristics_enable": _SWITCH,
    "trt_sparsity_enable": _SWITCH,
    "trt_builder_optimization_level": _NUMBER,
    "trt_auxiliary_streams": re.compile(r"-?\d{1,3}"),
    "trt_tactic_sources": re.compile(r"[+\-\w,]+"),
    "trt_detailed_build_log": _SWITCH,
    "trt_cuda_graph_enable": _SWITCH,
    "trt_op_types_to_exclude": _WORDS,
    "trt_profile_min_shapes": _WORDS,
    "trt_profile_max_shapes": _WORDS,
    "trt_profile_opt_shapes": _WORDS,
}


def accelerator_options(kind: str, name: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """The options that *parameters* of the accelerator *name*, on "gpu" or "cpu", come to.

    Raises:
        ArtifactUnusable: there is no such accelerator; or it has no such parameter, or none with
            that value, and which ones it has.
    """
    known = _READERS[kind]
    if name not in known:
        raise ArtifactUnusable(
            f"optimization.execution_accelerators: '{name}' is not supported; "
            f"there is {' and '.join(known)}"
        )
    return known[name](parameters)


def _cuda(parameters: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parameters.items():
        numbered = _CUDA_NUMBERS.get(name, ())
        number = int(value) if _NUMBER.fullmatch(value) else len(numbered)
        found[name] = numbered[number] if number < len(numbered) else value
        _check("cuda", name, found[name], _CUDA, _CUDA)
    return found


def _tensorrt(parameters: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    names = {"precision_mode", *_TENSORRT_NAMES, *_TENSORRT.keys() - _TENSORRT_NAMES.values()}
    for name, value in parameters.items():
        if name == "precision_mode" and value in _PRECISIONS:
            found |= _PRECISIONS[value]
            continue
        option = _TENSORRT_NAMES.get(name, name)
        _check("tensorrt", name, value, {name: _TENSORRT.get(option)}, names)
        found[option] = value
    return found


def _openvino(parameters: Mapping[str, str]) -> dict[str, str]:
    for name, value in parameters.items():
        _check("openvino", name, value, {}, ())
    return {}


def _check(
    accelerator: str,
    name: str,
    value: str,
    values: Mapping[str, re.Pattern[str] | None],
    names: Iterable[str],
) -> None:
    pattern = values.get(name)
    if pattern is not None and pattern.fullmatch(value):
        return
    there = ", ".join(sorted(names))
    what = name if pattern is None and name != "precision_mode" else f"{name}: {value}"
    raise ArtifactUnusable(
        f"optimization.execution_accelerators: {accelerator} has no parameter '{what}'; "
        + (f"it has {there}" if there else "it has none")
    )


_READERS: Final[Mapping[str, Mapping[str, Callable[[Mapping[str, str]], dict[str, str]]]]] = {
    "gpu": {"cuda": _cuda, "tensorrt": _tensorrt},
    "cpu": {"openvino": _openvino},
}
