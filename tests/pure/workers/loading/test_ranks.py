"""Tensors that may have any number of dimensions have those that requests have."""

import numpy as np
import pytest
from support.models.pipelines import CPU, node, onnx_graph, write_onnx
from support.records import config, version

from penstock.errors import InvalidConfiguration
from penstock.models.completion import complete
from penstock.workers.loading.batch_proof import prove
from penstock.workers.loading.ranks import see_ranks
from penstock.workers.runtimes.opening import ONNX, open_runtime

PAIRS = 'input { name: "x" data_type: TYPE_FP32 dims: [ -1, 2 ] } '
ROWS = 'max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } '
Y = 'output { name: "y" data_type: TYPE_FP32 dims: [ -1, 2 ] } '


@pytest.fixture
def relu(tmp_path):
    """Its file says nothing of the dimensions of `x` and `y`."""
    from onnx import TensorProto, helper

    tensors = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    reads, writes = ([one] for one in tensors)
    graph = onnx_graph([node("Relu", "x", "y")], reads, writes)
    return open_runtime(write_onnx(tmp_path, graph), ONNX, CPU)


def completed(runtime, text):
    proof = prove(runtime, "cpu")
    see_ranks(runtime, config(text))
    return complete(version(text=text), [runtime.signature], [proof])


def shapes(deployment):
    return [list(spec.shape) for spec in (*deployment.inputs, *deployment.outputs)]


def test_an_input_is_asked_for_by_name(relu):
    with pytest.raises(InvalidConfiguration) as caught:
        completed(relu, "")

    assert "takes any number of dimensions of its input 'x': list it in config.pbtxt" in str(
        caught.value
    )


@pytest.mark.parametrize(("text", "seen"), [(PAIRS, [-1, -1]), (PAIRS + Y, [-1, 2])])
def test_it_has_the_dims_of_its_configuration_and_outputs_what_is_seen(relu, text, seen):
    found = completed(relu, text)

    assert shapes(found) == [[-1, 2], seen]
    assert found.config.max_batch_size == 0


def test_an_output_of_another_rank_than_was_seen_is_refused(relu):
    with pytest.raises(InvalidConfiguration, match=r"'y' has dims \[2\], but .* \[-1, -1\]"):
        completed(relu, PAIRS + 'output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ')


def test_it_has_a_batch_dimension_where_the_owner_says_so(relu):
    assert shapes(completed(relu, ROWS)) == [[-1, 2], [-1, -1]]


def test_other_dims_than_its_own_run(relu):
    found = relu.run({"x": np.full((2, 1, 2), -1, np.float32)}, ["y"])

    assert found["y"].shape == (2, 1, 2)


def test_a_scalar_is_a_scalar(tmp_path):
    from onnx import TensorProto, helper

    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in "xy"]
    graph = onnx_graph([node("Relu", "x", "y")], tensors[:1], tensors[1:])
    runtime = open_runtime(write_onnx(tmp_path, graph), ONNX, CPU)

    assert not any(spec.any_rank for spec in runtime.signature.inputs)
    assert shapes(completed(runtime, "")) == [[], []]
