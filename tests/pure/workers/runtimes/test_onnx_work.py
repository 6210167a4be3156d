"""Which ONNX models compute as much as the shapes of their inputs say, whatever these hold."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.models.onnx_models import write_slow, write_sum

from penstock.workers.runtimes.onnx_work import has_fixed_work

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def model(path, nodes, *, initializers=None, inputs=None, outputs=("y",)):
    """A model of (operator, reads, writes) triples, which need not run."""
    weights = [numpy_helper.from_array(v, k) for k, v in (initializers or {}).items()]
    graph = helper.make_graph(
        [helper.make_node(op, reads, writes) for op, reads, writes in nodes],
        "g",
        [helper.make_tensor_value_info(n, FLOAT, None) for n in inputs or ("x",)],
        [helper.make_tensor_value_info(n, FLOAT, None) for n in outputs],
        initializer=weights,
    )
    onnx.save(helper.make_model(graph), path)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


NUMBERS = {"w": np.ones((4, 4), np.float32), "k": np.array([3], np.int64)}

FIXED = {
    "weights": [("MatMul", ["x", "w"], ["y"])],
    "sizes of the request": [
        ("Shape", ["x"], ["s"]),
        ("Mul", ["s", "k"], ["t"]),
        ("ConstantOfShape", ["t"], ["y"]),
    ],
    "a fixed number of the best": [("TopK", ["x", "k"], ["y", "i"])],
    "sizes left out": [("Resize", ["x", "", "w"], ["y"])],
}
FREE = {
    "as many as are not zero": [("NonZero", ["x"], ["y"])],
    "as long as the request says": [("Range", ["x", "x", "x"], ["y"])],
    "a size out of the request": [("Cast", ["x"], ["n"]), ("Expand", ["w", "n"], ["y"])],
    "a weight that a request may bring": [("TopK", ["x", "k"], ["y", "i"])],
}


@pytest.mark.parametrize("nodes", FIXED.values(), ids=FIXED)
def test_what_shapes_and_weights_tell_is_fixed(path, nodes):
    assert has_fixed_work(model(path, nodes, initializers=NUMBERS))


@pytest.mark.parametrize("nodes", FREE.values(), ids=FREE)
def test_what_values_of_the_request_tell_is_not(path, nodes):
    assert not has_fixed_work(model(path, nodes, initializers=NUMBERS, inputs=("x", "k")))


def test_a_loop_runs_as_often_as_it_is_told_to(tmp_path):
    assert not has_fixed_work(write_slow(tmp_path) / "1" / "model.onnx")
    assert has_fixed_work(write_sum(tmp_path) / "1" / "model.onnx")


def test_operators_of_others_may_do_anything(path):
    node = helper.make_node("Identity", ["x"], ["y"], domain="their.own")
    graph = helper.make_graph([node], "g", [], [])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("their.own", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), path)

    assert not has_fixed_work(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x3a\x80\x80\x80\x80\x08"])
def test_a_file_that_cannot_be_read_is_not_fixed(path, content):
    path.write_bytes(content)

    assert not has_fixed_work(path)
