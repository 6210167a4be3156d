"""What a message consists of is counted before anything is made of it."""

import contextlib
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clients.hostile import (
    MIB,
    OF_INFERENCE,
    empties,
    field,
    many_strings,
    most_memory,
    typed,
)

from penstock.errors import InvalidRequest
from penstock.protos import bounds, wire
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.grpc_service_pb2 import ModelInferRequest


def refusal_of(message):
    """What is said of a request that is read as gateways read it."""

    def read():
        bounds.check_head(wire.take_apart(message).head, ModelInferRequest)

    with pytest.raises(InvalidRequest) as caught:
        read()
    return str(caught.value)


@pytest.mark.parametrize("what", OF_INFERENCE)
def test_a_request_with_too_much_of_something_is_refused_by_the_limit(what):
    message, words = OF_INFERENCE[what]

    assert words in refusal_of(message)


@pytest.mark.parametrize("number", [4, 5, 6, 7, 15])
def test_a_request_of_a_million_entries_costs_no_more_than_one_of_the_most(number):
    """Memory as well: there is no object for each of them."""

    def cost(message):
        began = time.process_time()
        with pytest.raises(InvalidRequest, match="8192 fields"):
            wire.take_apart(message)
        return time.process_time() - began

    fewest = min(cost(field(number, b"") * (wire.MOST_FIELDS + 1)) for _ in range(5))
    message = empties(number, 2 * MIB)
    with most_memory() as peak, pytest.raises(InvalidRequest, match="8192 fields"):
        wire.take_apart(message)

    # They are 128 times as many.
    assert min(cost(message) for _ in range(5)) < 20 * fewest + 0.005
    assert peak() < 4 * MIB


def test_as_many_fields_as_a_request_may_have_are_taken_apart():
    parts = wire.take_apart(field(7, b"") * wire.MOST_FIELDS)

    assert len(parts.raws) == wire.MOST_FIELDS
    assert refusal_of(field(7, b"") * (wire.MOST_FIELDS + 1)).startswith("a request may have")


def test_large_requests_that_are_meant_are_within_bounds():
    floats = typed(6, np.zeros(12 * MIB, "<f4").tobytes())
    strings = field(5, field(5, field(8, b"a token") * 1_000_000))
    numbers = typed(3, bytes([1]) * (8 * MIB))

    for message in (floats, strings, numbers, field(7, many_strings(1_000_000))):
        bounds.check_head(wire.take_apart(message).head, ModelInferRequest)


@given(st.binary(max_size=300))
def test_whatever_is_counted_is_refused_only_as_damaged(content):
    """Of short messages there is nothing too much."""
    with contextlib.suppress(wire.Malformed):
        bounds.check_parts(content, ModelInferRequest)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (pb.RepositoryModelLoadRequest, empties(3)),
        (pb.RepositoryModelUnloadRequest, empties(3)),
        (pb.TraceSettingRequest, empties(1)),
        (pb.TraceSettingRequest, field(1, field(1, b"a") + field(2, empties(1)))),
        (pb.LogSettingsRequest, empties(1)),
        (pb.SystemSharedMemoryRegisterRequest, empties(9)),
    ],
)
def test_other_requests_of_many_parts_are_refused_before_they_are_parsed(kind, message):
    with pytest.raises(InvalidRequest, match="may have 65536 parts"):
        bounds.parse(kind, message, None)


def test_a_message_that_is_too_long_for_its_kind_is_not_looked_at():
    with pytest.raises(InvalidRequest, match=r"inference\.LogSettingsRequest may have 10 bytes"):
        bounds.parse(pb.LogSettingsRequest, b"\xff" * 11, 10)


def test_a_message_that_is_damaged_is_called_so():
    for content in (b"\xff" * 11, b"\x0a" + b"\xff" * 5000, b"\x0a\x82\x20" + b"\xff" * 4098):
        with pytest.raises(InvalidRequest, match="LogSettingsRequest: it is damaged or cut off"):
            bounds.parse(pb.LogSettingsRequest, content, None)


def test_files_of_a_load_may_be_large():
    request = pb.RepositoryModelLoadRequest(model_name="m")
    request.parameters["file:1/model.onnx"].bytes_param = bytes(16 * MIB)

    read = bounds.parse(pb.RepositoryModelLoadRequest, request.SerializeToString(), None)

    assert read == request
