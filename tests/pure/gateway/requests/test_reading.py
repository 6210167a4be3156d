"""Long requests are read beside the event loop, and come out as short ones do."""

import asyncio
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pytest
from support.clients.hostile import MIB, OF_INFERENCE, empties, field, many_strings, most_memory
from support.clients.infer_requests import add_input, spec
from support.records import known, node, placement, signature, snapshot, version, worker

from penstock.errors import InvalidRequest
from penstock.gateway.access.caller import Caller
from penstock.gateway.models.catalog import Catalog
from penstock.gateway.requests.call import Call
from penstock.gateway.requests.reading import Reading, taken_apart
from penstock.gateway.requests.shared_memory.regions import NotHere, RegionNotFound, Regions
from penstock.gateway.requests.streams import failure
from penstock.protos import cluster_pb2 as pb
from penstock.protos.grpc_service_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelStreamInferResponse,
)
from penstock.protos.wire import varint
from penstock.tensors import pack_bytes

COUNT = 1_000_000


class Gateway:
    """A gateway that serves the model "m" with one input of any length, as far as it reads."""

    def __init__(self, datatype):
        record = version(text="max_batch_size: 8")
        signed = signature([spec("x", datatype, -1, -1)], [spec("y", "FP32", -1, 1)])
        placed = placement(fingerprint=record.stages[0].fingerprint)
        catalog = Catalog()
        catalog.update(
            snapshot(
                [record],
                workers=[worker(placed, pb.WORKER_STATE_READY)],
                signatures=known(record, signed),
                nodes=[node("n")],
            )
        )
        self.regions = Regions(1 << 20)
        self._reading = Reading(catalog, self.regions)

    async def read(self, message, **call):
        asked = await self._reading.read(message, taken_apart(message), Call(**call))
        asked, _ = await self._reading.checked(asked)
        return asked


async def turns_while(reading):
    """How often others had their turn while *reading* went on; and what it gave."""
    reading, turns = asyncio.ensure_future(reading), 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    return turns, reading


def raw_request(datatype, elements, raw):
    request = ModelInferRequest(model_name="m")
    add_input(request, "x", raw, datatype=datatype, shape=[1, elements])
    return request.SerializeToString()


def typed_request(datatype, elements, **contents):
    request = ModelInferRequest(model_name="m")
    given = InferTensorContents(**contents)
    request.inputs.add(name="x", datatype=datatype, shape=[1, elements], contents=given)
    return request.SerializeToString()


LARGE = {
    "a million raw strings": ("BYTES", lambda: raw_request("BYTES", COUNT, many_strings(COUNT))),
    "a million typed strings": (
        "BYTES",
        lambda: typed_request("BYTES", COUNT, bytes_contents=[b"token"] * COUNT),
    ),
    "a million typed numbers": (
        "INT64",
        lambda: typed_request("INT64", COUNT, int64_contents=range(COUNT)),
    ),
    "strings that are cut off": (
        "BYTES",
        lambda: raw_request("BYTES", COUNT + 1, many_strings(COUNT) + b"\1\0\0\0"),
    ),
}


@pytest.mark.parametrize("what", LARGE)
async def test_others_have_their_turn_while_a_large_request_is_read(what):
    datatype, make = LARGE[what]

    turns, _ = await turns_while(Gateway(datatype).read(make()))

    assert turns > 10


async def test_a_million_strings_of_different_lengths_become_the_same_raw_or_typed():
    strings = [b"x" * (index % 300 // 2) for index in range(50_000)]
    gateway = Gateway("BYTES")

    raw = await gateway.read(raw_request("BYTES", len(strings), pack_bytes(strings)))
    typed = await gateway.read(typed_request("BYTES", len(strings), bytes_contents=strings))

    assert [bytes(one) for one in typed.raws] == [bytes(one) for one in raw.raws]
    assert ModelInferRequest.FromString(typed.message) == ModelInferRequest.FromString(raw.message)


async def test_a_typed_tensor_of_48_mib_becomes_raw():
    numbers = np.arange(12 * MIB, dtype="<f4")
    contents = field(5, field(6, numbers.tobytes()))
    head = field(1, b"x") + field(2, b"FP32") + field(3, b"\x01" + varint(numbers.size)) + contents
    message = field(1, b"m") + field(5, head)

    asked = await Gateway("FP32").read(message)

    assert np.frombuffer(asked.raws[0], "<f4").tobytes() == numbers.tobytes()
    assert not asked.request.inputs[0].HasField("contents")


async def test_typed_strings_become_raw_without_an_object_for_each_of_them():
    count = COUNT // 10
    message = typed_request("BYTES", count, bytes_contents=[b"token"] * count)
    gateway = Gateway("BYTES")

    with most_memory() as peak:
        await gateway.read(message)

    # Objects for all of them, with their lengths and two lists, would be some 110 bytes each.
    assert peak() < 60 * count


def in_region():
    request = ModelInferRequest(model_name="m")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    tensor.parameters["shared_memory_region"].string_param = "r"
    tensor.parameters["shared_memory_byte_size"].int64_param = 16
    return request.SerializeToString()


@pytest.mark.parametrize(("is_local", "refusal"), [(False, NotHere), (True, RegionNotFound)])
async def test_only_callers_on_this_machine_may_name_regions(is_local, refusal):
    with pytest.raises(refusal):
        await Gateway("FP32").read(in_region(), is_local=is_local)


async def test_a_region_is_its_teams_alone():
    gateway = Gateway("FP32")
    with NamedTemporaryFile(dir="/dev/shm", prefix="test-") as segment:
        segment.write(bytes(range(16)))
        segment.flush()
        vision = gateway.regions.of("vision")
        vision.register("r", Path(segment.name).name, 0, 16)

    asked = await gateway.read(in_region(), is_local=True, caller=Caller("vision"))
    for name in ("speech", ""):
        with pytest.raises(RegionNotFound):
            await gateway.read(in_region(), is_local=True, caller=Caller(name))
    vision.unregister("")

    assert asked.raws == [bytes(range(16))]


@pytest.mark.parametrize("what", OF_INFERENCE)
async def test_a_request_with_too_much_of_something_says_so_to_its_client(what):
    message, words = OF_INFERENCE[what]

    with pytest.raises(InvalidRequest, match=words):
        await Gateway("BYTES").read(message)


async def test_more_strings_than_a_tensor_may_have_are_refused_by_the_limit():
    with pytest.raises(InvalidRequest, match="and 2097152 is the most that one tensor may have"):
        await Gateway("BYTES").read(raw_request("BYTES", 4_000_000, many_strings(4_000_000)))


def test_a_failure_on_a_stream_does_not_parse_the_request_again():
    """Only its id comes back, and none of a request that has too many parts."""
    message = ModelInferRequest(id="7", model_name="m").SerializeToString()

    def id_of(message):
        answer = ModelStreamInferResponse.FromString(failure(message, "it failed"))
        return answer.infer_response.id

    assert id_of(message) == "7"
    assert id_of(message + b"\xff") == ""
    assert id_of(message + empties(7)) == ""
