"""Parts of a reply: put in order, each passed on once, and broken off rather than spliced."""

import asyncio
import itertools

import pytest

from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.types import PARTS, Chunk
from penstock.scheduler.replies.chunks import MOST_AHEAD, MOST_BYTES_AHEAD
from penstock.scheduler.requests.parts import PartsInOrder, ReplyBroken


def part(index, digest=None, body=None):
    return Chunk("job", index, digest or b"digest-%d" % index, body or b"body-%d" % index)


def end_of(count):
    response = pb.ModelInferResponse(id="mine", model_name="m", model_version="1")
    response.parameters[PARTS].int64_param = count
    return response.SerializeToString()


@pytest.fixture
async def end():
    """The future of the reply's end."""
    return asyncio.get_running_loop().create_future()


@pytest.fixture
def parts():
    return PartsInOrder()


async def drained(parts, end):
    found = []
    while (body := await parts.next(end)) is not None:
        found.append(body)
        parts.passed(body)
    return found


async def test_parts_are_passed_on_once_in_order(parts, end):
    for index in (1, 2, 1, 2, 3, 3):
        parts.put(part(index))
    end.set_result(b"")

    assert await drained(parts, end) == [b"body-1", b"body-2", b"body-3"]


async def test_a_reply_waits_for_what_comes(parts, end):
    end.add_done_callback(parts.wake)
    waiting = asyncio.ensure_future(drained(parts, end))
    await asyncio.sleep(0)
    parts.put(part(1))
    await asyncio.sleep(0)
    end.set_result(b"")

    assert await waiting == [b"body-1"]


def test_a_part_that_is_missing_breaks_the_reply(parts):
    parts.put(part(1))

    with pytest.raises(ReplyBroken, match="lost"):
        parts.put(part(3))


def test_the_last_part_must_come_again_as_it_was(parts):
    parts.put(part(1))
    parts.put(part(2))
    # Each digest tells of all parts before: what differs earlier is seen here.
    parts.put(part(1, digest=b"other"))

    with pytest.raises(ReplyBroken, match="differs"):
        parts.put(part(2, digest=b"other"))


def test_an_end_that_counts_other_parts_breaks_the_reply(parts):
    parts.put(part(1))
    parts.put(part(2))

    with pytest.raises(ReplyBroken, match="ended after 1 parts, but 2 were sent"):
        parts.end(end_of(1))


def test_the_end_keeps_what_clients_know_and_nothing_else(parts):
    parts.put(part(1))

    found = pb.ModelInferResponse.FromString(parts.end(end_of(1)))

    assert found == pb.ModelInferResponse(id="mine", model_name="m", model_version="1")


async def test_the_worker_hears_before_it_must_wait(parts, end):
    told = []
    for index in range(1, 4 * MOST_AHEAD + 1):
        parts.put(part(index))
        if parts.passed(await parts.next(end)):
            told.append(parts.passed_on)

    assert told[0] < MOST_AHEAD
    assert max(b - a for a, b in itertools.pairwise(told)) < MOST_AHEAD


async def test_the_worker_hears_sooner_of_large_parts(parts, end):
    parts.put(part(1, body=bytes(MOST_BYTES_AHEAD)))

    assert parts.passed(await parts.next(end))
    assert (parts.passed_on, parts.passed_bytes) == (1, MOST_BYTES_AHEAD)


def test_the_worker_hears_while_parts_come_again_that_are_not_passed_on(parts):
    """A store that forgot the job does not know what was passed on, either."""
    for index in range(1, MOST_AHEAD + 1):
        parts.put(part(index))

    assert any(parts.put(part(index)) for index in range(1, MOST_AHEAD + 1))
