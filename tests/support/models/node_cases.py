"""ONNX's own node tests as requests: each a model without config.pbtxt, its inputs, its outputs."""

import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import numpy as np

from penstock.client import BFloat16
from penstock.tensors import NUMPY_TYPES

CARRIED = frozenset(dtype for dtype in NUMPY_TYPES.values() if dtype != np.dtype(object))


@dataclass(frozen=True)
class NodeCase:
    """One test.

    Attributes:
        model: a serialized ONNX model.
        inputs, outputs: by name, in the model's order; as ONNX made them.
    """

    name: str
    model: bytes
    inputs: dict
    outputs: dict
    rtol: float
    atol: float

    def request(self):
        """The inputs as a client sends them; None if the protocol has no such type."""
        arrays = {name: _sent(value) for name, value in self.inputs.items()}
        return None if any(value is None for value in arrays.values()) else arrays

    def difference(self, answer):
        """How *answer* differs from what ONNX expects; "" if it does not."""
        for name, expected in self.outputs.items():
            found = difference(expected, answer[name], self.rtol, self.atol)
            if found:
                return f"{name}: {found}"
        return ""


@cache
def node_cases(*operators):
    """Those in ONNX's modules of *operators*, by name; without, all of them, in half a minute."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case import node

        if not operators:
            return {case.name: _of(case) for case in node.collect_testcases(None)}
        for operator in operators:
            import_module(f"{node.__name__}.{operator}")
        return {case.name: _of(case) for case in node._NodeTestCases}


def difference(expected, found, rtol, atol):
    """How an array differs from the expected one; "" if it does not."""
    array = _array(expected)
    if array is None:
        return f"expected is a {type(expected).__name__}"
    if array.shape != found.shape:
        return f"shape {found.shape}, expected {array.shape}"
    if object in (array.dtype, found.dtype):
        return "" if _texts(array) == _texts(found) else "other texts"
    try:
        np.testing.assert_allclose(
            found.astype(np.float64), array.astype(np.float64), rtol=rtol, atol=atol
        )
    except AssertionError as error:
        return " ".join(str(error).split())
    return ""


def _of(case):
    graph = case.model.graph
    inputs, outputs = case.data_sets[0]
    return NodeCase(
        case.name,
        case.model.SerializeToString(),
        {entry.name: value for entry, value in zip(graph.input, inputs, strict=True)},
        {entry.name: value for entry, value in zip(graph.output, outputs, strict=True)},
        case.rtol,
        case.atol,
    )


def _sent(value):
    array = _array(value)
    if array is None:
        return None
    if array.dtype.name == "bfloat16":
        return BFloat16(array.view(np.uint16))
    if array.dtype.kind in "OSU":
        return np.array([_bytes(one) for one in array.reshape(-1)], object).reshape(array.shape)
    return array if array.dtype in CARRIED else None


def _array(value):
    """*value* as an array; None for a list, or nothing."""
    from onnx import TensorProto, numpy_helper

    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return None if value is None or isinstance(value, list) else np.asarray(value)


def _texts(array):
    return [_bytes(one) for one in array.reshape(-1)]


def _bytes(one):
    return one if isinstance(one, bytes) else str(one).encode()
