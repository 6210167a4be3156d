"""A stream's requests run at once, in bounded number, and are answered in their order."""

import asyncio
from contextlib import nullcontext
from typing import NamedTuple

import pytest
from support.waiting import until

from penstock.clock import NO_DEADLINE, Deadline
from penstock.errors import Code, DeadlineExceeded, InvalidRequest, JobFailed, ShuttingDown
from penstock.gateway.limits.unread import UnreadReplies
from penstock.gateway.requests.call import Call
from penstock.gateway.requests.streams import Streams
from penstock.protos import grpc_service_pb2 as pb


class Served(NamedTuple):
    decoupled: bool = False


class Read(NamedTuple):
    id: str
    served: Served


class Requests:
    """What `Streams` asks of inference; the test answers each request when it likes."""

    def __init__(self):
        self.open = {}
        self.cancelled = []

    hold = nullcontext

    async def read(self, message, _):
        return Read(pb.ModelInferRequest.FromString(message).id, Served())

    async def answer(self, asked):
        id_ = asked.id
        self.open[id_] = asyncio.get_running_loop().create_future()
        try:
            return await self.open[id_]
        except asyncio.CancelledError:
            self.cancelled.append(id_)
            raise

    def succeed(self, id_):
        response = pb.ModelInferResponse(model_name="m", id=id_, raw_output_contents=[b"x"])
        self.open[id_].set_result(response.SerializeToString())

    def fail(self, id_, error):
        self.open[id_].set_exception(error)


class Stream:
    """One stream, and what its client has got of it."""

    def __init__(self, streams, deadline=NO_DEADLINE, metadata=()):
        self.sent = asyncio.Queue()
        self.got = []
        self.task = asyncio.create_task(
            streams.run(self._requests(), self._respond, Call(deadline, metadata=metadata))
        )

    def send(self, *ids):
        for id_ in ids:
            self.sent.put_nowait(id_)

    def half_close(self):
        self.sent.put_nowait(None)

    @property
    def ids(self):
        return [response.infer_response.id for response in self.got]

    async def _requests(self):
        while (id_ := await self.sent.get()) is not None:
            yield pb.ModelInferRequest(id=id_).SerializeToString()

    async def _respond(self, message):
        self.got.append(pb.ModelStreamInferResponse.FromString(message))


@pytest.fixture
def inference():
    return Requests()


@pytest.fixture
def streams(inference):
    return Streams(inference, UnreadReplies(1 << 20, lambda _: False), most_in_flight=3)


async def test_requests_run_at_once_and_are_answered_in_order(streams, inference):
    stream = Stream(streams)
    stream.send("a", "b", "c")
    await until(lambda: len(inference.open) == 3)

    inference.succeed("c")
    inference.succeed("b")
    inference.succeed("a")
    stream.half_close()
    await stream.task

    assert stream.ids == ["a", "b", "c"]
    assert all(one.infer_response.raw_output_contents == [b"x"] for one in stream.got)
    finals = [one.infer_response.parameters["triton_final_response"] for one in stream.got]
    assert all(final.bool_param for final in finals)


async def test_no_more_than_so_many_are_in_flight(streams, inference):
    stream = Stream(streams)
    stream.send("a", "b", "c", "d")
    await until(lambda: len(inference.open) == 3)
    before = set(inference.open)

    inference.succeed("a")
    await until(lambda: "d" in inference.open)

    assert before == {"a", "b", "c"}
    stream.task.cancel()


async def test_a_failure_is_answered_in_its_turn_and_the_stream_goes_on(streams, inference):
    stream = Stream(streams)
    stream.send("a", "b", "c")
    await until(lambda: len(inference.open) == 3)

    inference.fail("b", InvalidRequest("no such input"))
    inference.succeed("c")
    inference.succeed("a")
    stream.half_close()
    await stream.task

    assert stream.ids == ["a", "b", "c"]
    assert [one.error_message for one in stream.got] == ["", "no such input", ""]
    assert not stream.got[1].infer_response.model_name


async def test_a_failure_ends_the_stream_if_its_client_wants_it(streams, inference):
    stream = Stream(streams, metadata=[("triton_grpc_error", "true")])
    stream.send("a", "b", "c")
    await until(lambda: len(inference.open) == 3)

    inference.fail("b", InvalidRequest("no such input"))
    inference.succeed("a")
    with pytest.raises(InvalidRequest, match="no such input"):
        await stream.task

    assert stream.ids == ["a"]
    assert inference.cancelled == ["c"]


@pytest.mark.parametrize(
    "error", [DeadlineExceeded("too late"), JobFailed(Code.DEADLINE_EXCEEDED, "too late")]
)
async def test_its_own_deadline_ends_a_stream_whoever_notices_it_first(streams, inference, error):
    stream = Stream(streams, Deadline.after(0.001))
    stream.send("a", "b")
    await until(lambda: len(inference.open) == 2)

    inference.fail("a", error)
    with pytest.raises(type(error), match="too late"):
        await stream.task

    assert stream.ids == []
    assert inference.cancelled == ["b"]


@pytest.mark.parametrize("remaining_s", [None, 30.0])
async def test_a_request_whose_own_time_is_over_is_told_in_the_stream(
    streams, inference, remaining_s
):
    stream = Stream(streams, Deadline.after(remaining_s) if remaining_s else NO_DEADLINE)
    stream.send("a", "b")
    await until(lambda: len(inference.open) == 2)

    inference.fail("a", DeadlineExceeded("too late"))
    inference.succeed("b")
    stream.half_close()
    await stream.task

    assert [one.error_message for one in stream.got] == ["too late", ""]


async def test_an_unforeseen_error_leaves_as_an_id(streams, inference):
    stream = Stream(streams)
    stream.send("a")
    await until(lambda: inference.open)

    inference.fail("a", RuntimeError("a secret"))
    stream.half_close()
    await stream.task

    assert stream.got[0].error_message.startswith("internal error ")


async def test_a_cancelled_stream_takes_its_requests_along(streams, inference):
    stream = Stream(streams)
    stream.send("a", "b")
    await until(lambda: len(inference.open) == 2)

    stream.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream.task

    assert sorted(inference.cancelled) == ["a", "b"]
    assert repr(streams) == "Streams(0 open)"


async def test_draining_answers_what_was_read_and_then_says_why_it_ends(streams, inference):
    stream = Stream(streams)
    stream.send("a")
    await until(lambda: inference.open)

    streams.drain()
    inference.succeed("a")
    with pytest.raises(ShuttingDown, match="has stopped accepting new requests"):
        await stream.task

    assert stream.ids == ["a"]


async def test_a_stream_that_begins_while_draining_is_turned_away(streams):
    streams.drain()
    stream = Stream(streams)

    with pytest.raises(ShuttingDown):
        await stream.task
