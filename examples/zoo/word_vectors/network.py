"""What is nearest to a sum of words: in PyTorch, and as a graph that reads and writes text."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from zoo.common.place import Array

WIDTH, NEAREST = 256, 10
ITSELF = 2.0
"""Taken from the likeness of the words that are asked about: they are not among the nearest."""


class Nearest(nn.Module):
    """Numbers of words, and a sign for each -> the nearest words; number 0 is an unknown word."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        units = nn.functional.normalize(vectors, dim=1)
        self.units = nn.Parameter(torch.cat([torch.zeros(1, units.shape[1]), units]), False)

    def forward(self, numbers: Tensor, signs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """*numbers* and *signs* [b, n] -> the nearest and how near [b, 10], the sum [b, 256]."""
        total = (self.units[numbers] * signs[:, :, None]).sum(1)
        vector = nn.functional.normalize(total, dim=1)
        near = vector @ self.units.T
        near = near.scatter(1, numbers, -ITSELF)
        near[:, 0] = -ITSELF
        likeness, places = near.topk(NEAREST, dim=1)
        return places, likeness, vector


def graph(units: Array, words: list[str]) -> onnx.ModelProto:
    """The same for words as text; *units* [1 + words, 256] of `Nearest`."""
    constants = {
        "units": units,
        "unknown_last": np.where(np.arange(len(units)) == 0, -ITSELF, 0).astype(np.float32),
        "middle": np.array([1]),
        "last": np.array([2]),
        "least": np.array(1e-12, np.float32),
        "nothing": np.array(0.0, np.float32),
        "itself": np.array(ITSELF, np.float32),
        "no_word": np.array(0),
        "count": np.array([NEAREST]),
    }
    made = helper.make_graph(
        _nodes(words),
        "nearest",
        [_value("words", TensorProto.STRING, "n"), _value("signs", TensorProto.FLOAT, "n")],
        [
            _value("nearest", TensorProto.STRING, NEAREST),
            _value("likeness", TensorProto.FLOAT, NEAREST),
            _value("vector", TensorProto.FLOAT, WIDTH),
            _value("known", TensorProto.BOOL, "n"),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(made, opset_imports=opsets, ir_version=9)


def _value(name: str, kind: int, size: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch", size])


def _nodes(words: list[str]) -> list[onnx.NodeProto]:
    node, numbers = helper.make_node, list(range(1, len(words) + 1))
    to_number = {"keys_strings": words, "values_int64s": numbers, "default_int64": 0}
    to_word = {"keys_int64s": numbers, "values_strings": words, "default_string": ""}
    return [
        node("LabelEncoder", ["words"], ["numbers"], domain="ai.onnx.ml", **to_number),
        node("Greater", ["numbers", "no_word"], ["known"]),
        node("Gather", ["units", "numbers"], ["each"]),
        node("Unsqueeze", ["signs", "last"], ["weights"]),
        node("Mul", ["each", "weights"], ["signed"]),
        node("ReduceSum", ["signed", "middle"], ["total"], keepdims=0),
        node("ReduceL2", ["total", "middle"], ["length"], keepdims=1),
        node("Max", ["length", "least"], ["divisor"]),
        node("Div", ["total", "divisor"], ["vector"]),
        node("Gemm", ["vector", "units", "unknown_last"], ["near"], transB=1),
        node("Mul", ["signs", "nothing"], ["none"]),
        node("Sub", ["none", "itself"], ["away"]),
        node("ScatterElements", ["near", "numbers", "away"], ["others"], axis=1),
        node("TopK", ["others", "count"], ["likeness", "places"], axis=1),
        node("LabelEncoder", ["places"], ["nearest"], domain="ai.onnx.ml", **to_word),
    ]
