"""Two small graphs for the memory of a device: one makes zeros there, one copies what is there."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock.workers.language.cache.cache import Shape

COPIED: Final = "copied_"

_OPSET: Final = 18
_IR_VERSION: Final = 9
"""Old ones: any ONNX Runtime has kernels of theirs for all devices."""


def zeros(parts: Mapping[str, Shape]) -> bytes:
    """From shape_of_N, int64[rank], to N: float32 zeros of that shape."""
    from onnx import TensorProto, helper

    nodes, inputs, outputs = [], [], []
    for name, shape in parts.items():
        # An input and no constant: zeros that follow from constants would be made at load, twice.
        size = f"shape_of_{name}"
        nodes.append(helper.make_node("ConstantOfShape", [size], [name]))
        inputs.append(helper.make_tensor_value_info(size, TensorProto.INT64, [1 + len(shape)]))
        outputs.append(_floats(name, shape))
    return _model(nodes, inputs, outputs)


def copying(parts: Mapping[str, Shape]) -> bytes:
    """From N to copied_N, float32[slots, ...] each."""
    from onnx import helper

    nodes = [helper.make_node("Identity", [name], [COPIED + name]) for name in parts]
    inputs = [_floats(name, shape) for name, shape in parts.items()]
    return _model(nodes, inputs, [_floats(COPIED + name, shape) for name, shape in parts.items()])


def _floats(name: str, shape: Shape) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["slots", *shape])


def _model(nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> bytes:
    from onnx import helper

    graph = helper.make_graph(list(nodes), "memory", list(inputs), list(outputs))
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())
