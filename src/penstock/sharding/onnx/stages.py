"""The stages of an ONNX model as models of their own.

`onnx.utils.extract_model` cuts between named tensors, too, but it leaves out what subgraphs
capture, refuses sparse and quantized weights, and cannot give a stage the sizes of tensors that
it does not have.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from penstock.sharding.graph import Stage
from penstock.sharding.onnx.model import OnnxModel, is_shape
from penstock.sharding.onnx.sizes import element_type

INLINE_BYTES = 1 << 30  # protobuf ends at 2 GiB; larger stages keep their weights beside them


def write_stage(
    model: OnnxModel, stage: Stage, path: Path, inline_bytes: int = INLINE_BYTES
) -> None:
    """Write *stage* to *path*: opset and symbolic sizes as in the model, IR version at least 4.

    Weights of *inline_bytes* or more go into ``<path>.data``.
    """
    proto = _stage_model(model, stage, path.stem)
    onnx.external_data_helper.load_external_data_for_model(proto, str(model.folder))
    held = sum(model.graph.weights[name].stored_bytes for name in stage.weights)
    onnx.save(
        proto,
        str(path),
        save_as_external_data=held >= inline_bytes,
        all_tensors_to_one_file=True,
        location=f"{path.name}.data",
    )


def _stage_model(model: OnnxModel, stage: Stage, name: str) -> Any:
    source = model.proto
    proto = onnx.ModelProto(
        ir_version=max(source.ir_version, 4),
        producer_name=source.producer_name,
        producer_version=source.producer_version,
        opset_import=source.opset_import,
        functions=source.functions,
        metadata_props=source.metadata_props,
    )
    graph = proto.graph
    graph.name = f"{source.graph.name}-{name}"
    graph.input.extend(_info(model, *names) for names in stage.inputs.items())
    graph.output.extend(_info(model, *names) for names in stage.outputs.items())
    graph.node.extend(_renamed((wire, name) for name, wire in stage.inputs.items()))
    graph.node.extend(_nodes(model, stage))
    graph.node.extend(_renamed(stage.outputs.items()))
    graph.initializer.extend(
        tensor for tensor in source.graph.initializer if tensor.name in stage.weights
    )
    graph.sparse_initializer.extend(
        tensor for tensor in source.graph.sparse_initializer if tensor.values.name in stage.weights
    )
    inside = {output for node in graph.node for output in node.output} - set(stage.outputs.values())
    graph.value_info.extend(info for info in source.graph.value_info if info.name in inside)
    graph.quantization_annotation.extend(
        note for note in source.graph.quantization_annotation if note.tensor_name in inside
    )
    return proto


def _renamed(pairs: Iterable[tuple[str, str]]) -> Iterator[Any]:
    for name, other in pairs:
        if name != other:
            yield onnx.helper.make_node("Identity", [name], [other])


def _info(model: OnnxModel, name: str, wire_name: str) -> Any:
    """A stage's input or output, with the model's own names for dynamic sizes."""
    tensor = model.graph.tensors[name]
    named = (
        dim if isinstance(dim, int) or dim in model.sizes.sample else None for dim in tensor.dims
    )
    return onnx.helper.make_tensor_value_info(wire_name, element_type(tensor.datatype), list(named))


def _nodes(model: OnnxModel, stage: Stage) -> Iterator[Any]:
    nodes = [model.proto.graph.node[index] for index in stage.operations]
    present = {output for node in nodes for output in node.output}
    present |= set(stage.inputs) | stage.weights
    for node in nodes:
        if is_shape(node) and node.input[0] not in present:
            yield from _size_nodes(model, stage, node)
        else:
            yield node


def _size_nodes(model: OnnxModel, stage: Stage, node: Any) -> Iterator[Any]:
    """Nodes that answer as the Shape *node* does, without the tensor that it looked at."""
    bounds = {item.name: item.i for item in node.attribute}
    dims = model.graph.tensors[node.input[0]].dims
    dims = dims[bounds.get("start", 0) : bounds.get("end", len(dims))]
    parts = [f"{node.output[0]}/size_{place}" for place in range(len(dims))]
    for part, dim in zip(parts, dims, strict=True):
        if isinstance(dim, int):
            yield _constant(part, dim)
            continue
        tensor, axis = stage.sizes_from[dim]
        yield onnx.helper.make_node("Shape", [tensor], [f"{part}/all"])
        yield _constant(f"{part}/axis", axis)
        yield onnx.helper.make_node("Gather", [f"{part}/all", f"{part}/axis"], [part])
    yield onnx.helper.make_node("Concat", parts, list(node.output), name=node.name, axis=0)


def _constant(name: str, value: int) -> Any:
    tensor = onnx.numpy_helper.from_array(np.array([value], dtype=np.int64))
    return onnx.helper.make_node("Constant", [], [name], value=tensor)
