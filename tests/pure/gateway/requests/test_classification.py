"""Outputs as their top classes, written as Triton writes them."""

import numpy as np
import pytest

from penstock.errors import InvalidRequest
from penstock.gateway.requests.kinds.classification import classify
from penstock.protos import wire
from penstock.protos.grpc_service_pb2 import ModelInferResponse
from penstock.tensors import bf16_from_float32, from_raw, to_raw


def reply(**outputs):
    """A reply with an array, and perhaps its datatype, for each output."""
    response = ModelInferResponse(model_name="m", model_version="1", id="i")
    for name, (array, datatype) in outputs.items():
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(to_raw(array))
    return response.SerializeToString()


def classes(message, index=0):
    response = ModelInferResponse.FromString(message)
    output = response.outputs[index]
    assert output.datatype == "BYTES"
    return from_raw(response.raw_output_contents[index], "BYTES", output.shape).tolist()


def array(*numbers, dtype=np.float32):
    return np.array(numbers, dtype)


def test_each_row_has_its_largest_first():
    message = reply(y=(array([0.1, 0.7, 0.2], [3, 1, 2]), "FP32"))

    got = classes(classify(message, {"y": 2}, {}, batched=True))

    assert got == [[b"0.700000:1", b"0.200000:2"], [b"3.000000:0", b"2.000000:2"]]


def test_labels_stand_behind_as_far_as_there_are_any():
    message = reply(y=(array([0.1, 0.7, 0.2]), "FP32"))

    got = classes(classify(message, {"y": 3}, {"y": ("cat", "dog")}, batched=True))

    assert got == [[b"0.700000:1:dog", b"0.200000:2", b"0.100000:0:cat"]]


def test_without_a_batch_dimension_all_elements_are_one_row():
    message = reply(y=(array([1, 2], [4, 3]), "FP32"))

    assert classes(classify(message, {"y": 2}, {}, batched=False)) == [b"4.000000:2", b"3.000000:3"]


def test_no_more_classes_than_elements_come_back():
    message = reply(y=(array([1, 2]), "FP32"))

    assert len(classes(classify(message, {"y": 9}, {}, batched=True))[0]) == 2


@pytest.mark.parametrize("datatype", ["INT8", "UINT64", "INT64"])
def test_whole_numbers_are_written_as_such(datatype):
    dtype = np.dtype(datatype.lower())
    message = reply(y=(array([1, np.iinfo(dtype).max, 0], dtype=dtype), datatype))

    got = classes(classify(message, {"y": 1}, {}, batched=True))

    assert got == [[f"{np.iinfo(dtype).max}:1".encode()]]


def test_floats_of_sixteen_bits_are_numbers_too():
    halves, brains = array([1, 2], dtype=np.float16), bf16_from_float32(array([[4, 3]]))[0]
    message = reply(h=(halves, "FP16"), b=(brains, "BF16"))

    message = classify(message, {"h": 1, "b": 1}, {}, batched=True)

    assert classes(message, 0) == [[b"2.000000:1"]]
    assert classes(message, 1) == [[b"4.000000:0"]]


def test_equal_numbers_keep_their_order_and_nan_is_the_least():
    message = reply(y=(array([np.nan, 1, 1, np.inf]), "FP32"))

    (row,) = classes(classify(message, {"y": 4}, {}, batched=True))

    assert row == [b"inf:3", b"1.000000:1", b"1.000000:2", b"nan:0"]


def test_other_outputs_stay_as_they_are():
    message = reply(x=(array([5]), "FP32"), y=(array([1, 2]), "FP32"))

    head, raws = wire.split_response(classify(message, {"y": 1}, {}, batched=True))

    response = ModelInferResponse.FromString(head)
    assert (response.model_name, response.model_version, response.id) == ("m", "1", "i")
    assert [one.datatype for one in response.outputs] == ["FP32", "BYTES"]
    assert bytes(raws[0]) == array([5]).tobytes()


def test_more_classes_than_a_reply_may_have_are_refused_by_the_limit():
    message = reply(y=(np.zeros((2, 600_000), np.float32), "FP32"))

    with pytest.raises(
        InvalidRequest, match="would be 1200000 texts, and a reply may have 1048576"
    ):
        classify(message, {"y": 2**40}, {}, batched=True)
