"""The stages of an ONNX model as models of their own."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penstock.tensors import Array
from penstock.workers.sharding.comparison import Runnable, Tensors
from penstock.workers.sharding.graph import Stage
from penstock.workers.sharding.onnx_model import OnnxModel, is_shape
from penstock.workers.sharding.onnx_observation import open_session, session_options
from penstock.workers.sharding.onnx_sizes import element_type

_INLINE_BYTES = 1 << 30  # protobuf ends at 2 GiB; larger stages keep their weights beside them


def write_stage(model: OnnxModel, stage: Stage, path: Path) -> None:
    """Write *stage* to *path*: opset and symbolic sizes as in the model, IR version at least 4.

    Weights go into ``<path>.data`` where they are too large for one file.
    """
    import onnx

    proto = _stage_model(model, stage, path.stem)
    onnx.external_data_helper.load_external_data_for_model(proto, str(model.folder))
    held = sum(model.graph.weights[name].stored_bytes for name in stage.weights)
    if held < _INLINE_BYTES:
        onnx.save(proto, str(path))
        return
    onnx.save(
        proto,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=f"{path.name}.data",
    )


def runnable(path: Path) -> Runnable:
    """The model at *path*, ready to run on the CPU."""
    session = open_session(str(path), session_options())
    return Runnable(tuple(entry.name for entry in session.get_inputs()), _runner(session))


def _runner(session: Any) -> Callable[[Mapping[str, Array]], Tensors]:
    outputs = [entry.name for entry in session.get_outputs()]

    def run(inputs: Mapping[str, Array]) -> Tensors:
        return dict(zip(outputs, session.run(outputs, dict(inputs)), strict=True))

    return run


def _stage_model(model: OnnxModel, stage: Stage, name: str) -> Any:
    import onnx

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
    graph.input.extend(_info(model, tensor) for tensor in stage.inputs)
    graph.output.extend(_info(model, tensor) for tensor in stage.outputs)
    graph.node.extend(_nodes(model, stage))
    graph.initializer.extend(
        tensor for tensor in source.graph.initializer if tensor.name in stage.weights
    )
    graph.sparse_initializer.extend(
        tensor for tensor in source.graph.sparse_initializer if tensor.values.name in stage.weights
    )
    inside = {output for node in graph.node for output in node.output} - set(stage.outputs)
    graph.value_info.extend(info for info in source.graph.value_info if info.name in inside)
    graph.quantization_annotation.extend(
        note for note in source.graph.quantization_annotation if note.tensor_name in inside
    )
    return proto


def _info(model: OnnxModel, name: str) -> Any:
    """A stage's input or output, with the model's own names for dynamic sizes."""
    import onnx

    tensor = model.graph.tensors[name]
    named = (
        dim if isinstance(dim, int) or dim in model.sizes.sample else None for dim in tensor.dims
    )
    return onnx.helper.make_tensor_value_info(name, element_type(tensor.datatype), list(named))


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
    import onnx

    bounds = {item.name: item.i for item in node.attribute}
    dims = model.graph.tensors[node.input[0]].dims
    dims = dims[bounds.get("start", 0) : bounds.get("end", len(dims))]
    parts = []
    for place, dim in enumerate(dims):
        part = f"{node.output[0]}/size_{place}"
        parts.append(part)
        if isinstance(dim, int):
            yield _constant(part, dim)
            continue
        tensor, axis = stage.sizes_from[dim]
        yield onnx.helper.make_node("Shape", [tensor], [f"{part}/all"])
        yield _constant(f"{part}/axis", axis)
        yield onnx.helper.make_node("Gather", [f"{part}/all", f"{part}/axis"], [part])
    yield onnx.helper.make_node("Concat", parts, list(node.output), name=node.name, axis=0)


def _constant(name: str, value: int) -> Any:
    import onnx

    tensor = onnx.numpy_helper.from_array(np.array([value], dtype=np.int64))
    return onnx.helper.make_node("Constant", [], [name], value=tensor)
