"""Requests with tensors in regions become requests without, and replies go back."""

import uuid
from pathlib import Path

import pytest

from penstock.errors import InvalidRequest
from penstock.gateway.requests.shared_memory.regions import (
    RegionNotFound,
    Regions,
    RequestTooLarge,
)
from penstock.gateway.requests.shared_memory.tensors import Place, put, take, uses_regions
from penstock.protos.grpc_service_pb2 import ModelInferRequest, ModelInferResponse


@pytest.fixture
def regions():
    """One region, "r", of sixteen bytes from 0 to 15."""
    path = Path("/dev/shm") / f"test-{uuid.uuid4().hex}"  # noqa: S108 - where shared memory is
    path.write_bytes(bytes(range(16)))
    found = Regions(most_bytes=12).of("")
    found.register("r", path.name, 0, 16)
    yield found
    found.unregister("")
    path.unlink()


def request(*names):
    message = ModelInferRequest(model_name="m", id="i")
    for name in names:
        message.inputs.add(name=name, datatype="UINT8", shape=[1, 4])
    return message


def put_into(tensor, region="r", size=4, offset=0):
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_byte_size"].int64_param = size
    tensor.parameters["shared_memory_offset"].int64_param = offset


def refusal(message, regions, kind=InvalidRequest):
    with pytest.raises(kind) as caught:
        take(message, None, regions)
    return str(caught.value)


def test_most_requests_use_no_regions():
    message = request("x")
    message.outputs.add(name="y")
    plain = uses_regions(message)
    put_into(message.outputs[0])

    assert not plain
    assert uses_regions(message)


def test_inputs_come_out_of_regions_in_their_place(regions):
    message = request("a", "b", "c")
    message.raw_input_contents.extend([b"aaaa", b"cccc"])
    put_into(message.inputs[1], offset=8)

    taken = take(message, None, regions)

    contents = [b"aaaa", bytes([8, 9, 10, 11]), b"cccc"]
    assert taken.raws == contents
    again = ModelInferRequest.FromString(taken.message)
    assert list(again.raw_input_contents) == contents
    assert not any(tensor.parameters for tensor in again.inputs)
    assert again.id == "i"


def test_contents_that_were_kept_apart_come_back_too(regions):
    message = request("a", "b")
    put_into(message.inputs[0])

    assert take(message, [b"bbbb"], regions).raws == [bytes([0, 1, 2, 3]), b"bbbb"]


def test_typed_contents_may_stand_beside_regions(regions):
    message = request("a", "b")
    put_into(message.inputs[0])
    message.inputs[1].contents.uint_contents.extend([9, 8, 7, 6])

    taken = take(message, None, regions)

    assert taken.raws == [bytes([0, 1, 2, 3]), bytes([9, 8, 7, 6])]
    assert not taken.request.inputs[1].HasField("contents")


def test_typed_contents_cannot_stand_beside_raw_ones(regions):
    message = request("a", "b")
    put_into(message.inputs[0])
    message.inputs[1].contents.uint_contents.append(1)
    message.raw_input_contents.append(b"bbbb")

    assert "contents field must not be specified" in refusal(message, regions)


def test_a_request_cannot_be_larger_than_a_message(regions):
    message = request("a", "b")
    put_into(message.inputs[0], size=6)
    put_into(message.inputs[1], size=7)

    assert "12 bytes altogether" in refusal(message, regions, RequestTooLarge)


def test_an_input_without_data_is_refused(regions):
    message = request("a", "b")
    put_into(message.inputs[0])

    assert "unable to find data for input tensor 'b'" in refusal(message, regions)


def test_a_place_must_be_complete_and_of_its_types(regions):
    message = request("a")
    put_into(message.inputs[0])
    del message.inputs[0].parameters["shared_memory_byte_size"]
    incomplete = refusal(message, regions)
    put_into(message.inputs[0], offset=-1)
    negative = refusal(message, regions)
    message.inputs[0].parameters["shared_memory_offset"].string_param = "1"

    assert "lacks 'shared_memory_byte_size'" in incomplete
    assert "invalid value for 'shared_memory_offset'" in negative
    assert "invalid value type for 'shared_memory_offset'" in refusal(message, regions)


@pytest.mark.parametrize(
    ("place", "classes", "kind", "text"),
    [
        ({"region": "gone"}, 0, RegionNotFound, "'gone'"),
        ({"size": 17}, 0, InvalidRequest, "Invalid offset + byte size"),
        ({}, 1, InvalidRequest, "cannot be its classes and in shared memory"),
    ],
)
def test_places_of_outputs_are_checked_before_anything_runs(regions, place, classes, kind, text):
    message = request("a")
    message.raw_input_contents.append(b"aaaa")
    message.outputs.add(name="y")
    put_into(message.outputs[0], **place)
    if classes:
        message.outputs[0].parameters["classification"].int64_param = classes

    assert text in refusal(message, regions, kind)


def test_outputs_go_into_their_regions_and_the_others_stay(regions):
    response = ModelInferResponse(model_name="m", id="i", raw_output_contents=[b"abcd", b"z"])
    response.outputs.add(name="y", datatype="UINT8", shape=[1, 4])
    response.outputs.add(name="z", datatype="UINT8", shape=[1, 1])

    reply = put(response.SerializeToString(), {"y": Place("r", 2, 6)}, regions)

    answer = ModelInferResponse.FromString(reply)
    assert list(answer.raw_output_contents) == [b"", b"z"]
    assert answer.outputs[0].parameters["shared_memory_byte_size"].int64_param == 4
    assert answer.outputs[0].parameters["shared_memory_offset"].int64_param == 2
    assert regions.named("r").read(0, 8) == bytes([0, 1]) + b"abcd" + bytes([6, 7])


def test_an_output_that_does_not_fit_is_refused(regions):
    response = ModelInferResponse(raw_output_contents=[b"abcd"])
    response.outputs.add(name="y", datatype="UINT8", shape=[1, 4])

    with pytest.raises(InvalidRequest, match=r"output 'y' \(3 bytes\) should be at least 4 bytes"):
        put(response.SerializeToString(), {"y": Place("r", 0, 3)}, regions)
