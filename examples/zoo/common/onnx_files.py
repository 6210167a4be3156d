"""Exports to ONNX, each proved against its source on input that training has not seen."""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from zoo.common.place import Array

TOLERANCE = 1e-4


class Differs(Exception):
    """The artifact does not say what its source says."""


def export_onnx(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    sizes: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Write *network* to *path*, with nothing about this machine in it.

    Args:
        network: its `forward` takes *inputs* by name.
        inputs: samples of two rows or more.
        outputs: names of what it returns, in order.
        path: the file.
        sizes: for each input its free dimensions by name; the first, ``batch``, where left out.
    """
    free = {name: (sizes or {}).get(name, {0: "batch"}) for name in inputs}
    dims = {name: torch.export.Dim(name) for given in free.values() for name in given.values()}
    shapes = {
        name: {place: dims[size] for place, size in given.items()} for name, given in free.items()
    }
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            kwargs=dict(inputs),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    onnx.save(_nameless(program.model_proto), str(path))


def _nameless(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without where its lines stood in whose files."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    for part in (*graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    return proto


def answers(path: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What ONNX Runtime makes of *inputs*, without any server."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = {name: _texts(array, bytes.decode) for name, array in inputs.items()}
    found = session.run(names, given)
    return {name: _texts(part, str.encode) for name, part in zip(names, found, strict=True)}


def _texts(array: Array, turned: Callable[[Any], Any]) -> Array:
    """Texts are str for ONNX Runtime, and bytes for who asks a server; numbers stay as they are."""
    if array.dtype != object:
        return array
    return np.array([turned(text) for text in array.flat], object).reshape(array.shape)


def prove(path: Path, inputs: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """How far the artifact's answers are from its source's at most.

    Raises:
        Differs: by more than `TOLERANCE`.
    """
    found = difference(answers(path, inputs), expected)
    if not found <= TOLERANCE:
        raise Differs(f"{path} differs from its source by {found:.2g}")
    return found


def difference(found: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """The largest, of numbers above 1 as their share; infinite where shapes or texts differ."""
    return max(_difference(found[name], array) for name, array in expected.items())


def _difference(found: Array, expected: Array) -> float:
    if found.shape != expected.shape:
        return float("inf")
    if expected.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(found, expected) else float("inf")
    ours, theirs = found.astype(np.float64), expected.astype(np.float64)
    return float(np.max(np.abs(ours - theirs) / np.maximum(1, np.abs(theirs)), initial=0.0))
