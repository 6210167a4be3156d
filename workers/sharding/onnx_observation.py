"""Sizes seen by running an ONNX model, for tensors whose sizes inference leaves open."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penstock.tensors import Array, UnknownDatatype, datatype_of
from penstock.workers.sharding.errors import CannotShard
from penstock.workers.sharding.onnx_sizes import Dims, Sizes


def observe(proto: Any, folder: Path, sizes: Sizes, names: list[str]) -> None:
    """Run the model twice, with other sizes of the request, and add what *names* look like.

    Tensors that numpy cannot hold (sequences, BF16 and narrower) stay unknown.

    Raises:
        CannotShard: the model does not run on the samples.
    """
    session = _session_that_shows(proto, folder, names)
    first = sizes.sample
    seen = _run(session, sizes, first)
    if isinstance(seen, str):
        raise CannotShard(
            f"the model does not run on the sample ({seen}); describe its inputs with --input"
        )
    second = {name: size + (name not in sizes.pinned) for name, size in first.items()}
    again = _run(session, sizes, second)
    if isinstance(again, str):
        # Some sizes may not be free (multiples of a stride, say): change the batch alone.
        second = {name: size + (name == sizes.batch) for name, size in first.items()}
        again = _run(session, sizes, second)
    if isinstance(again, str):
        raise CannotShard(f"the model runs at batch size 2, but not at 3 ({again})")
    for name in names:
        if name in seen and name in again:
            sizes.datatypes[name] = datatype_of(seen[name])
            sizes.dims[name] = _dims(name, seen[name].shape, again[name].shape, first, second)
            sizes.observed[name] = seen[name].shape


def _dims(
    name: str,
    shape: tuple[int, ...],
    again: tuple[int, ...],
    first: Mapping[str, int],
    second: Mapping[str, int],
) -> Dims:
    if len(shape) != len(again):
        return tuple(f"{name}:{axis}" for axis in range(len(shape)))
    unchanged = {size for symbol, size in first.items() if second[symbol] == size}
    dims: list[int | str] = []
    for axis, pair in enumerate(zip(shape, again, strict=True)):
        symbols = [symbol for symbol in first if (first[symbol], second[symbol]) == pair]
        if pair[0] == pair[1] and pair[0] not in unchanged:
            dims.append(pair[0])
        elif pair[0] != pair[1] and len(symbols) == 1:
            dims.append(symbols[0])
        else:
            dims.append(f"{name}:{axis}")
    return tuple(dims)


def _session_that_shows(proto: Any, folder: Path, names: list[str]) -> Any:
    """The model with every one of *names* among its outputs."""
    import onnx
    import onnxruntime

    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    present = {info.name for info in shown.graph.output}
    shown.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in present
    )
    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder.resolve())
    )
    return open_session(shown.SerializeToString(), options)


def session_options() -> Any:
    """Options for runs that only check: quiet, and few threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    return options


def open_session(model: str | bytes, options: Any) -> Any:
    """A session on the CPU, which every machine has.

    Raises:
        CannotShard: ONNX Runtime refuses the model.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its exceptions share no base class
        raise CannotShard(f"ONNX Runtime cannot load the model: {first_line(error)}") from None


def _run(session: Any, sizes: Sizes, values: Mapping[str, int]) -> dict[str, Array] | str:
    """Everything shown, by name; in words why the run failed."""
    names = [output.name for output in session.get_outputs()]
    try:
        results = session.run(names, sizes.request(values))
    except CannotShard:
        raise
    except Exception as error:  # noqa: BLE001 - its exceptions share no base class
        return first_line(error)
    return {name: array for name, array in zip(names, results, strict=True) if _travels(array)}


def _travels(result: object) -> bool:
    if not isinstance(result, np.ndarray):
        return False
    try:
        datatype_of(result)
    except UnknownDatatype:
        return False
    return True


def first_line(error: Exception) -> str:
    """An error's text without its details."""
    return next(iter(str(error).splitlines()), type(error).__name__)
