"""Sizes seen by running an ONNX model, for tensors whose sizes inference leaves open."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from penstock.sharding.errors import CannotShard, OneSizeOnly
from penstock.sharding.free_sizes import others_of
from penstock.sharding.onnx.sizes import Dims, Sizes
from penstock.sharding.samples import HOW
from penstock.tensors import Array, UnknownDatatype, datatype_of
from penstock.workers.runtimes.onnx_runtime import DATATYPES, ort_value, text_of

Look = tuple[str, tuple[int, ...]]
"""A tensor's datatype and its sizes in one run."""


def observe(proto: Any, folder: Path, sizes: Sizes, names: list[str]) -> None:
    """Run the model once for each size of the request, changed alone; add what *names* look like.

    What is no tensor that can travel (sequences, datatypes narrower than 8 bits) stays unknown.

    Raises:
        CannotShard: the model does not run on the samples, or at one value of a free size only.
    """
    session = _session_that_shows(proto, folder, names)
    seen = _run(session, sizes, sizes.sample)
    if isinstance(seen, str):
        raise CannotShard(
            f"the model does not run on the sample ({seen}); describe its inputs: {HOW}"
        )
    changed = {symbol: _changed(session, sizes, symbol) for symbol in sizes.sample}
    for name in names:
        if name in seen and all(name in looks for _, looks in changed.values()):
            sizes.datatypes[name], sizes.observed[name] = seen[name]
            shapes = {symbol: (other, looks[name][1]) for symbol, (other, looks) in changed.items()}
            sizes.dims[name] = _dims(name, seen[name][1], sizes.sample, shapes)


def _changed(session: Any, sizes: Sizes, symbol: str) -> tuple[int, dict[str, Look]]:
    """Another value of a size at which the model runs, and what is seen then."""
    size = sizes.sample[symbol]
    is_batch = symbol == sizes.batch
    again: dict[str, Look] | str = ""
    for other in (size + 1,) if is_batch else others_of(size):
        again = _run(session, sizes, {**sizes.sample, symbol: other})
        if not isinstance(again, str):
            return other, again
    if is_batch:
        raise CannotShard(f"the model runs at batch size {size}, but not at {size + 1} ({again})")
    raise OneSizeOnly(sizes.place_of(symbol), size)


def _dims(
    name: str,
    shape: tuple[int, ...],
    sample: Mapping[str, int],
    changed: Mapping[str, tuple[int, tuple[int, ...]]],
) -> Dims:
    """A number for each size that stays whatever changes, a symbol for one that is the same."""
    if any(len(again) != len(shape) for _, again in changed.values()):
        return tuple(f"{name}:{axis}" for axis in range(len(shape)))
    dims: list[int | str] = []
    for axis, size in enumerate(shape):
        moved = {s: pair for s, pair in changed.items() if pair[1][axis] != size}
        (symbol, (other, again)), *_ = [*moved.items(), ("", (0, shape))]
        if not moved:
            dims.append(size)
        elif len(moved) == 1 and (size, again[axis]) == (sample[symbol], other):
            dims.append(symbol)
        else:
            dims.append(f"{name}:{axis}")
    return tuple(dims)


def _session_that_shows(proto: Any, folder: Path, names: list[str]) -> Any:
    """The model with every one of *names* among its outputs."""
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    present = {info.name for info in shown.graph.output}
    shown.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in present
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder.resolve())
    )
    model = shown.SerializeToString()
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its exceptions share no base class
        raise CannotShard(f"ONNX Runtime cannot load the model: {text_of(error)}") from None


def _run(session: Any, sizes: Sizes, values: Mapping[str, int]) -> dict[str, Look] | str:
    """Everything shown that can travel, by name; in words why the run failed."""
    names = [output.name for output in session.get_outputs()]
    request = sizes.request(values)
    try:
        looks = _looks(session, sizes, request, names)
    except Exception as error:  # noqa: BLE001 - its exceptions share no base class
        return text_of(error)
    found = zip(names, looks, strict=True)
    return {name: look for name, look in found if look is not None}


def _looks(
    session: Any, sizes: Sizes, request: Mapping[str, Array], names: list[str]
) -> list[Look | None]:
    datatypes = {name: sizes.datatypes[name] for name in request}
    if "BYTES" in datatypes.values():
        # ONNX Runtime takes text from numpy only, and numpy has no BF16 that it could return.
        halves = {
            name: ort_value(request[name], "BF16")
            for name, datatype in datatypes.items()
            if datatype == "BF16"
        }
        return [_look_of_array(array) for array in session.run(names, {**request, **halves})]
    feed = {name: ort_value(array, datatypes[name]) for name, array in request.items()}
    return [_look_of_value(value) for value in session.run_with_ort_values(names, feed)]


def _look_of_array(result: object) -> Look | None:
    if not isinstance(result, np.ndarray):
        return None
    try:
        return datatype_of(result), result.shape
    except UnknownDatatype:
        return None


def _look_of_value(value: Any) -> Look | None:
    if not value.is_tensor() or value.data_type() not in DATATYPES:
        return None
    return DATATYPES[value.data_type()], tuple(value.shape())
