"""Inputs as the command line describes them, and samples that fit."""

import numpy as np
import pytest

from penstock.datatypes import DATATYPES
from penstock.sharding.errors import CannotShard
from penstock.sharding.samples import InputSpec, parse_inputs, reject_unknown, sample
from penstock.tensors import NUMPY_TYPES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=-1,1,8,8:FP32", InputSpec("x", "FP32", (None, 1, 8, 8))),
        ("x=-1x3x8", InputSpec("x", "FP32", (None, 3, 8))),
        ("tokens=-1,-1:int64", InputSpec("tokens", "INT64", (None, None))),
        ("scalar=:FP64", InputSpec("scalar", "FP64", ())),
    ],
)
def test_an_input_is_a_name_a_shape_and_a_datatype(text, expected):
    assert parse_inputs([text]) == {expected.name: expected}


def test_an_input_may_be_a_file(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float16))

    spec = parse_inputs([f"x=@{tmp_path / 'x.npy'}"])["x"]

    assert (spec.datatype, spec.shape) == ("FP16", (2, 3))
    assert spec.array.tolist() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("text", ["x", "x=", "=1,2", "x=a,b", "x=1,2.5:FP32"])
def test_what_cannot_be_read_is_refused_with_an_example(text):
    with pytest.raises(CannotShard, match=r"cannot read .*image=-1,1,8,8:FP32"):
        parse_inputs([text])


def test_an_unknown_datatype_is_refused_with_those_there_are():
    with pytest.raises(CannotShard, match=r"unknown datatype 'FLOAT', expected one of BF16, BOOL"):
        parse_inputs(["x=1:float"])


@pytest.mark.parametrize("content", [None, b"no array"])
def test_a_file_that_is_no_array_is_refused(tmp_path, content):
    path = tmp_path / "x.npy"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(CannotShard, match=r"cannot read the sample .*x\.npy"):
        parse_inputs([f"x=@{path}"])


@pytest.mark.parametrize("datatype", sorted(DATATYPES))
def test_samples_have_the_shape_and_the_datatype(datatype):
    array = sample(InputSpec("x", datatype, (None, 3)), (5, 3))

    assert array.shape == (5, 3)
    assert array.dtype == NUMPY_TYPES[datatype]


@pytest.mark.parametrize("datatype", ["INT64", "UINT8", "BOOL", "BYTES"])
def test_what_may_be_an_index_is_nought_or_one(datatype):
    array = sample(InputSpec("x", datatype, (None,)), (50,))

    assert {str(int(item)) for item in array} == {"0", "1"}


def test_samples_are_the_same_each_time():
    spec = InputSpec("x", "FP32", (None, 4))

    np.testing.assert_array_equal(sample(spec, (2, 4)), sample(spec, (2, 4)))


def test_a_given_sample_is_repeated_to_the_batch():
    spec = InputSpec("x", "INT32", (None, 1), np.array([[1], [2]], np.int32))

    assert sample(spec, (5, 1)).tolist() == [[1], [2], [1], [2], [1]]
    assert sample(spec, (1, 1)).tolist() == [[1]]


@pytest.mark.parametrize("array", [np.zeros((2, 3)), np.zeros(()), np.zeros((0, 4))])
def test_a_given_sample_must_fit(array):
    with pytest.raises(CannotShard, match=r"a sample of shape .* does not fit \[5, 4\]"):
        sample(InputSpec("x", "FP64", (None, 4), array), (5, 4))


def test_inputs_that_the_model_lacks_are_refused():
    given = parse_inputs(["z=1"])

    with pytest.raises(CannotShard, match="--input 'z': the model's inputs are x, y"):
        reject_unknown(given, iter(["x", "y"]))
