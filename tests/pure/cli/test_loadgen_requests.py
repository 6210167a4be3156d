import numpy as np
import pytest

from penstock.datatypes import DATATYPES
from penstock.errors import InvalidRequest
from penstock.loadgen.requests import Input, Model, Wanted, make_requests
from penstock.protos import grpc_service_pb2 as pb
from penstock.tensors import from_raw


def model(*inputs, max_batch_size=8):
    return Model("m", "3", inputs, max_batch_size)


def parsed(requests):
    return [pb.ModelInferRequest.FromString(request) for request in requests]


def array_of(request, place=0):
    tensor = request.inputs[place]
    return from_raw(request.raw_input_contents[place], tensor.datatype, tensor.shape)


@pytest.mark.parametrize("datatype", sorted(DATATYPES))
def test_every_datatype_can_be_generated(datatype):
    requests = make_requests(model(Input("x", datatype, (-1, 5))), Wanted(batch=2))

    first = parsed(requests)[0]
    assert (first.model_name, first.model_version) == ("m", "3")
    assert array_of(first).shape == (2, 5)


def test_generated_requests_differ_and_repeat_with_their_seed():
    asked = model(Input("x", "FP32", (-1, 4)))

    assert make_requests(asked, Wanted()) == make_requests(asked, Wanted())
    assert len(set(make_requests(asked, Wanted()))) == Wanted().distinct
    assert make_requests(asked, Wanted(seed=1)) != make_requests(asked, Wanted())


def test_given_data_is_sent_once_in_the_input_s_datatype():
    given = np.arange(4, dtype=np.int32)

    requests = make_requests(
        model(Input("x", "INT64", (-1, 4))), Wanted(batch=3, arrays={"x": given})
    )

    (only,) = parsed(requests)
    assert only.inputs[0].datatype == "INT64"
    np.testing.assert_array_equal(array_of(only), [[0, 1, 2, 3]] * 3)


def test_given_data_with_a_batch_stays_as_it_is():
    given = np.zeros((2, 4), dtype=np.float32)

    (only,) = parsed(make_requests(model(Input("x", "FP32", (-1, 4))), Wanted(arrays={"x": given})))

    assert array_of(only).shape == (2, 4)


def test_free_sizes_come_from_the_wishes():
    requests = make_requests(
        model(Input("x", "FP32", (-1, 3, -1)), max_batch_size=4), Wanted(shapes={"x": (3, 7)})
    )

    assert array_of(parsed(requests)[0]).shape == (1, 3, 7)


def test_a_model_without_batches_has_all_its_dimensions():
    requests = make_requests(model(Input("x", "FP32", (2, 3)), max_batch_size=0), Wanted())

    assert array_of(parsed(requests)[0]).shape == (2, 3)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (Wanted(), "--shape x=3x?"),
        (Wanted(shapes={"y": (1,)}), "no input 'y', it has x"),
        (Wanted(batch=9, shapes={"x": (3, 1)}), "at most 8 items"),
        (Wanted(arrays={"x": np.zeros((1, 3, 1), dtype=np.complex64)}), "complex64"),
    ],
)
def test_a_wish_that_cannot_be_says_what_to_change(wanted, text):
    with pytest.raises(InvalidRequest) as refused:
        make_requests(model(Input("x", "FP32", (-1, 3, -1))), wanted)

    assert text in str(refused.value)


def test_a_batch_for_a_model_that_does_not_batch_is_refused():
    with pytest.raises(InvalidRequest, match="does not batch"):
        make_requests(model(Input("x", "FP32", (3,)), max_batch_size=0), Wanted(batch=2))
