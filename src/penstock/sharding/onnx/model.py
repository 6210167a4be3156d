"""An ONNX file as a `Graph`: order, weights, and the sizes of everything between the nodes.

Sizes come from ONNX's shape inference; those that it cannot tell are observed by running the
model at two sets of sizes. Weights kept in external files are not read here.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from penstock.datatypes import ITEM_BYTES
from penstock.sharding.errors import CannotShard
from penstock.sharding.graph import Graph, Operation, Tensor, Weight
from penstock.sharding.onnx.size_inference import read_sizes
from penstock.sharding.onnx.sizes import Sizes
from penstock.sharding.samples import InputSpec, reject_unknown

_TEXT_BYTES = 4  # a BYTES element is at least its length


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A model file, its weights where they were, and its graph.

    ``proto`` has its nodes in execution order and every batch dimension under one name, *batch*,
    which is None for a model without one.
    """

    proto: Any
    folder: Path
    graph: Graph
    sizes: Sizes


def read_model(path: Path, given: dict[str, InputSpec]) -> OnnxModel:
    """Read *path*; *given* are samples and sizes for its inputs.

    Raises:
        CannotShard: not an ONNX file, or one that cannot run on the given samples.
    """
    proto = _load(path)
    _check_weight_files(proto.graph, path.parent)
    _constants_to_weights(proto.graph)
    _sort_nodes(proto.graph)
    weights = {tensor.name: _weight(tensor) for tensor in proto.graph.initializer}
    weights |= {
        tensor.values.name: _sparse_weight(tensor) for tensor in proto.graph.sparse_initializer
    }
    # Before IR version 4 the weights were listed among the inputs, too.
    inputs = tuple(info.name for info in proto.graph.input if info.name not in weights)
    reject_unknown(given, inputs)
    _check_names(inputs, [info.name for info in proto.graph.output])
    sizes = read_sizes(proto, path.parent, inputs, given)
    graph = Graph(
        inputs=inputs,
        outputs=tuple(info.name for info in proto.graph.output),
        operations=tuple(_operation(node) for node in proto.graph.node),
        weights=weights,
        tensors={name: _tensor(name, sizes) for name in sizes.dims},
    )
    for name in graph.outputs:
        if name not in graph.tensors:
            raise CannotShard(
                f"output '{name}' is not a tensor of a datatype that can travel; cut the model "
                "with plain tensors as outputs"
            )
    return OnnxModel(proto, path.parent, graph, sizes)


def outside_reads(node: Any) -> list[str]:
    """What a node reads: its inputs, and what its subgraphs capture from around them."""
    reads = [name for name in node.input if name]
    for subgraph in _subgraphs(node):
        own = {info.name for info in (*subgraph.input, *subgraph.initializer)}
        for inner in subgraph.node:
            reads += [name for name in outside_reads(inner) if name not in own]
            own.update(inner.output)
        reads += [info.name for info in subgraph.output if info.name not in own]
    return list(dict.fromkeys(reads))


def _load(path: Path) -> Any:
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise CannotShard(f"cannot read {path}: {error.strerror}") from None
    except DecodeError:
        proto = None
    if proto is None or not proto.graph.node:
        raise CannotShard(f"{path} is not an ONNX model, or is damaged: export it anew")
    return proto


def _check_weight_files(graph: Any, folder: Path) -> None:
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location" and not (folder / entry.value).is_file():
                raise CannotShard(
                    f"the model keeps weights in {folder / entry.value}, which is not there: put "
                    "that file beside the model, as the export wrote it"
                )


def _check_names(inputs: Iterable[str], outputs: Iterable[str]) -> None:
    both = set(inputs).intersection(outputs)
    if both:
        raise CannotShard(
            f"'{min(both)}' is an input and an output; give the output another name, by an "
            "Identity node"
        )


def _constants_to_weights(graph: Any) -> None:
    """Large tables are exported as nodes now and then; they weigh what they weigh."""
    kept = []
    for node in graph.node:
        values = [item.t for item in node.attribute if item.name == "value"]
        if node.op_type == "Constant" and values:
            weight = graph.initializer.add()
            weight.CopyFrom(values[0])
            weight.name = node.output[0]
        else:
            kept.append(node)
    _replace_nodes(graph, kept)


def _sort_nodes(graph: Any) -> None:
    """Order the nodes so that each reads only what came before; a good order stays as it is."""
    given = {info.name for info in (*graph.input, *graph.initializer)}
    given |= {tensor.values.name for tensor in graph.sparse_initializer}
    written = {name for node in graph.node for name in node.output}
    ready, waiting = [], list(graph.node)
    while waiting:
        later = []
        for node in waiting:
            if all(name in given or name not in written for name in outside_reads(node)):
                given.update(node.output)
                ready.append(node)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise CannotShard(f"the model's nodes form a circle at '{_name(later[0])}'")
        waiting = later
    _replace_nodes(graph, ready)


def _replace_nodes(graph: Any, nodes: list[Any]) -> None:
    if list(graph.node) == nodes:
        return
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _subgraphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _operation(node: Any) -> Operation:
    return Operation(
        name=_name(node),
        reads=tuple(outside_reads(node)),
        writes=tuple(name for name in node.output if name),
        sizes_only=is_shape(node),
    )


def is_shape(node: Any) -> bool:
    """Whether the node is ONNX's own Shape."""
    return node.op_type == "Shape" and node.domain in ("", "ai.onnx")


def _name(node: Any) -> str:
    return node.name or f"{node.op_type}:{next(iter(node.output), '')}"


def _tensor(name: str, sizes: Sizes) -> Tensor:
    datatype, dims = sizes.datatypes[name], sizes.dims[name]
    counted = dims[1:] if sizes.batch is not None and dims[:1] == (sizes.batch,) else dims
    items = math.prod(sizes.at_sample(name, dim) for dim in counted)
    return Tensor(
        datatype=datatype,
        dims=dims,
        item_bytes=items * (ITEM_BYTES[datatype] or _TEXT_BYTES),
        may_cross=sizes.batch is None or dims[:1] == (sizes.batch,),
    )


def _weight(tensor: Any) -> Weight:
    elements = math.prod(tensor.dims)
    if tensor.data_type == onnx.TensorProto.STRING:
        return Weight(elements, sum(map(len, tensor.string_data)))
    halves = {onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1}
    if tensor.data_type in halves:
        return Weight(elements, -(-elements // 2))
    item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return Weight(elements, elements * item)


def _sparse_weight(tensor: Any) -> Weight:
    parts: Iterable[Weight] = (_weight(tensor.values), _weight(tensor.indices))
    return Weight(math.prod(tensor.values.dims), sum(part.stored_bytes for part in parts))
