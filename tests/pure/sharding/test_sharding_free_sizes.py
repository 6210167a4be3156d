"""Sizes that follow the request stay free in the stages, and are proved at more than one value."""

import numpy as np
import onnx
import onnxruntime
import pytest
from support.models.pipelines import (
    Served,
    constant,
    cut_onnx,
    cut_torch,
    node,
    onnx_graph,
    value,
    weight,
    write_onnx,
)

from penstock.sharding.comparison import Runnable
from penstock.sharding.errors import FrozenSize, OneSizeOnly
from penstock.sharding.free_sizes import FreeSizes, prove
from penstock.tensors import Array


def at(values) -> dict[str, Array]:
    return {"x": np.ones((2, values.get("w", 16)), np.float32)}


FREE = FreeSizes({"w": 16}, {"w": "dimension 1 of input 'x'"}, at)


def double(request):
    return {"y": 2 * request["x"]}


def test_stages_are_proved_at_a_second_value_of_each_size():
    seen = []

    def run(request):
        seen.append(request["x"].shape[1])
        return double(request)

    found = prove(double, [Runnable(("x",), run)], {"y": "FP32"}, FREE)

    assert found == {"dimension 1 of input 'x'": (16, 32)}
    assert seen == [32]


def only_16(request):
    if request["x"].shape[1] != 16:
        raise ValueError("cannot reshape 32 to 16")
    return double(request)


@pytest.mark.parametrize("run", [only_16, lambda r: {"y": 2 * r["x"][:, :16]}])
def test_stages_that_hold_at_one_value_are_refused_by_the_dimensions_name(run):
    with pytest.raises(FrozenSize, match=r"dimension 1 of input 'x' is free in .* size 32"):
        prove(double, [Runnable(("x",), run)], {"y": "FP32"}, FREE)


def test_a_model_that_runs_at_one_value_only_is_refused_by_the_dimensions_name():
    with pytest.raises(OneSizeOnly, match=r"dimension 1 of input 'x' is free, but .* size 16"):
        prove(only_16, [Runnable(("x",), only_16)], {"y": "FP32"}, FREE)


def recognition(shape=("n", 3, 8, "w")):
    """Two convolutions and poolings, then columns in a row: sizes a quarter of the width."""
    sized = [
        node("Shape", "h", "shape"),
        node("Gather", "shape zero", "count"),
        node("Gather", "shape three", "columns"),
        node("Concat", "count eight columns", "flat", axis=0),
        node("Concat", "count columns eight", "back", axis=0),
    ]
    pooling = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        node("Conv", "x first", "a1", pads=[1, 1, 1, 1]),
        node("MaxPool", "a1", "a2", **pooling),
        node("Conv", "a2 second", "a3", pads=[1, 1, 1, 1]),
        node("MaxPool", "a3", "h", **pooling),
        *sized,
        node("Reshape", "h flat", "r1"),
        node("Transpose", "r1", "r2", perm=[0, 2, 1]),
        node("MatMul", "r2 a", "m1"),
        node("Relu", "m1", "m2"),
        node("MatMul", "m2 b", "m3"),
        node("Reshape", "m3 back", "y"),
    ]
    numbers = {"zero": 0, "three": 3, "eight": 8}
    weights = [constant(name, np.array([number], np.int64)) for name, number in numbers.items()]
    weights += [weight("first", 4, 3, 3, 3), weight("second", 4, 4, 3, 3), weight("a"), weight("b")]
    answer = value("y", shape=(shape[0], "columns", 8))
    return onnx_graph(nodes, [value("x", shape=shape)], [answer], weights)


@pytest.mark.parametrize(
    ("shape", "inputs"),
    [
        (("n", 3, 8, "w"), ()),
        ((-1, 3, "?", "?"), ("x=-1,3,8,-1:FP32",)),
        (("n", 3, 8, "w"), ("x=@{folder}/sample.npy",)),
    ],
    ids=["named", "as exporters leave them", "a sample"],
)
def test_a_free_width_stays_free_behind_strides(tmp_path, shape, inputs):
    path = write_onnx(tmp_path, recognition(shape))
    np.save(tmp_path / "sample.npy", np.ones((2, 3, 8, 20), np.float32))
    inputs = [text.format(folder=tmp_path) for text in inputs]
    report = cut_onnx(path, 3, tmp_path / "models" / "m" / "1", *inputs)
    served = Served(tmp_path / "models", "m")
    whole = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    ((place, (size, other)),) = report.verification.free_sizes.items()
    assert place == "dimension 3 of input 'x'"
    assert other == 2 * size
    for count, width in ((1, 16), (3, 17), (2, 24), (1, 75)):
        image = np.random.default_rng(width).standard_normal((count, 3, 8, width)).astype("f4")
        (expected,) = whole.run(["y"], {"x": image})
        np.testing.assert_allclose(served.infer({"x": image})["y"], expected, atol=1e-5)


def test_a_size_that_the_command_line_fixes_is_promised_to_nobody_else(tmp_path):
    """The stages are proved for it alone."""
    path = write_onnx(tmp_path, recognition())
    report = cut_onnx(path, 2, tmp_path / "out", "x=-1,3,8,24:FP32")

    first = onnx.load(str(tmp_path / "out" / "shard-0.onnx"))
    (asked,) = first.graph.input
    assert [dim.dim_value for dim in asked.type.tensor_type.shape.dim] == [0, 3, 8, 24]
    assert report.verification.free_sizes == {}


def test_a_torch_module_s_free_sizes_are_proved_too(tmp_path):
    torch = pytest.importorskip("torch")

    class Recognition(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(3, 4, 3, padding=1)
            self.second = torch.nn.Linear(16, 8)

        def forward(self, x):
            h = torch.max_pool2d(self.first(x), 2)
            columns = h.flatten(1, 2).transpose(1, 2)
            return self.second(columns)

    report = cut_torch(Recognition, 2, tmp_path / "models" / "m" / "1", "x=-1,3,8,-1:FP32")

    assert list(report.verification.free_sizes) == ["dimension 3 of input 'x'"]
