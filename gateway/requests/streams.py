"""Answers the many requests of one stream, in their order, or in parts beside the others.

The requests of a stream run at once, and are answered in the order in which they came, as Triton
does for models that answer each request once. Responses of decoupled models are passed on as they
come, beside the others. A failed request is answered in its turn, and the stream goes on, unless
its client asked for the stream to end with the failure's status, or the stream's own deadline is
what the request failed of.
"""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Final

from penstock.errors import Code, PenstockError, ShuttingDown, Unauthenticated, forget_frames
from penstock.gateway.failures import failure_of
from penstock.gateway.limits import admission
from penstock.gateway.limits.stream_room import StreamRoom
from penstock.gateway.limits.unread import UnreadReplies
from penstock.gateway.requests.call import Call
from penstock.gateway.requests.idempotency import refuse_for_stream
from penstock.gateway.requests.infer import Inference
from penstock.gateway.requests.reading import Asked
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire

MOST_IN_FLIGHT: Final = 256
"""Requests of one stream that may be unanswered; no more are read until one is answered."""

MOST_UNSENT_BYTES: Final = 256 << 20
"""Of one stream's answers that are not sent; no more requests are read until some are."""

_EARLY_S: Final = 0.005
"""A request's deadline may pass this much before its stream's: the store has whole milliseconds."""

_ENDS_ON_ERROR: Final = ("triton_grpc_error", "true")
"""Metadata of a stream that is to end with the status of its first failure."""

_INFER_RESPONSE = 2


def _mark(*, final: bool) -> bytes:
    response = pb.ModelInferResponse()
    response.parameters["triton_final_response"].bool_param = final
    return response.SerializeToString()


_MARKS: Final = {final: _mark(final=final) for final in (False, True)}

Respond = Callable[[bytes], Awaitable[None]]
_Answer = asyncio.Task[bytes | None] | asyncio.Task[None]


class Streams:
    """All streams of one gateway process."""

    def __init__(
        self,
        inference: Inference,
        unread: UnreadReplies,
        most_in_flight: int = MOST_IN_FLIGHT,
        most_unsent_bytes: int = MOST_UNSENT_BYTES,
    ) -> None:
        """*unread*: where answers count that are not sent."""
        self._inference = inference
        self._most_in_flight = most_in_flight
        self._most_unsent_bytes = most_unsent_bytes
        self._unread = unread
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False

    def __repr__(self) -> str:
        return f"Streams({len(self._readers)} open)"

    def drain(self) -> None:
        """Read no more requests; what was read is answered, and then each stream ends."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    async def run(self, requests: AsyncIterable[bytes], respond: Respond, call: Call) -> None:
        """Answer *requests*, serialized ModelInferRequests, until there are no more.

        A cancelled caller takes the jobs of all its requests out of the queue.

        Args:
            respond: takes each serialized ModelStreamInferResponse.
            call: the stream's; a request has its deadline, or one of its own where it has none.

        Raises:
            PenstockError: the status that the stream ends with: the first failure that ends it as
                well (`_ends`), or ShuttingDown.
            InvalidRequest: its metadata is for one request.
        """
        refuse_for_stream(call.metadata)
        room = StreamRoom(self._most_in_flight, self._most_unsent_bytes)
        line = _OpenRequests(room, respond, partial(self._unread.give, call.connection))
        reader = asyncio.create_task(self._read(requests, line, call))
        reader.add_done_callback(line.end)
        self._readers.add(reader)
        if self._draining:
            reader.cancel()
        try:
            while (answer := await line.next()) is not None:
                response = await answer
                if response is not None:
                    await line.send(response)
                line.answered(answer, response)
            if not reader.cancelled():
                reader.result()
            elif self._draining:
                raise ShuttingDown(admission.SHUTTING_DOWN)
        finally:
            self._readers.discard(reader)
            await line.cancel(reader)

    async def _read(
        self, requests: AsyncIterable[bytes], line: "_OpenRequests", call: Call
    ) -> None:
        await line.room.enter()
        async for message in requests:
            line.add(asyncio.create_task(self._answer(message, call, line)))
            await line.room.enter()

    async def _answer(self, message: bytes, call: Call, line: "_OpenRequests") -> bytes | None:
        """The answer to one request; None when its responses go their own way (`aside`)."""
        try:
            with self._inference.hold(message):
                asked = await self._inference.read(message, call)
                if asked.served.decoupled:
                    line.aside(asyncio.create_task(self._pass_on(asked, call, line)))
                    return None
                return self._counted(success(await self._inference.answer(asked)), call, line)
        except Exception as error:
            if _ends(call, error):
                raise
            return self._counted(failure(message, failure_of(error, call.caller).text), call, line)

    def _counted(self, response: bytes, call: Call, line: "_OpenRequests") -> bytes:
        """*response*, which is unread from now on.

        Raises:
            RepliesUnread: its client holds too many already.
        """
        self._unread.take(call.connection, len(response))
        line.held(len(response))
        return response

    async def _pass_on(self, asked: Asked, call: Call, line: "_OpenRequests") -> None:
        """Send the responses of a decoupled model as they come."""
        try:
            with self._inference.hold(asked.message):
                async with aclosing(self._inference.responses(asked)) as parts:
                    async for part in parts:
                        line.room.part(len(part.body))
                        if not part.final or _wants_final(asked.request):
                            await line.send(success(part.body, final=part.final))
        except Exception as error:
            if _ends(call, error):
                raise
            await line.send(failure(asked.message, failure_of(error, asked.call.caller).text))


class _OpenRequests:
    """The unanswered requests of one stream, in order; beside them those of decoupled models."""

    def __init__(self, room: StreamRoom, respond: Respond, give: Callable[[int], None]) -> None:
        """*give*: is told the size of each answer that is held no more."""
        self._waiting: asyncio.Queue[_Answer | None] = asyncio.Queue()
        self._all: set[_Answer] = set()
        self._aside: set[asyncio.Task[None]] = set()
        self._held = 0
        self._closed = False
        self.room = room
        self._respond = respond
        self._give = give
        self._sending = asyncio.Lock()
        self._last_came = False

    def held(self, size: int) -> None:
        """An answer of *size* bytes is there."""
        if self._closed:
            self._give(size)
            return
        self._held += size
        self.room.answered(size)

    def add(self, answer: "asyncio.Task[bytes | None]") -> None:
        """Put the latest request's answer at the end."""
        self._all.add(answer)
        self._waiting.put_nowait(answer)

    def aside(self, answering: "asyncio.Task[None]") -> None:
        """Let a request be answered beside the others, in the place of its turn."""
        self._aside.add(answering)
        self.room.aside()
        answering.add_done_callback(self._came)

    def _came(self, answering: "asyncio.Task[None]") -> None:
        self._aside.discard(answering)
        self.room.aside(-1)
        self.room.leave()
        # It may have failed, or be the last.
        self._waiting.put_nowait(answering)

    def end(self, _: object = None) -> None:
        """No more will come."""
        self._waiting.put_nowait(None)

    async def next(self) -> _Answer | None:
        """The first that is not answered, or one that came beside; None after the last."""
        while not self._last_came or self._aside or not self._waiting.empty():
            answer = await self._waiting.get()
            if answer is not None:
                return answer
            self._last_came = True
        return None

    async def send(self, response: bytes) -> None:
        """Send one response: no two at once, which gRPC would not take."""
        async with self._sending:
            await self._respond(response)

    def answered(self, answer: _Answer, response: bytes | None) -> None:
        """The one that `next` gave is done with: *response* has been sent, or it came beside."""
        self._all.discard(answer)
        if response is not None:
            self._held -= len(response)
            self._give(len(response))
            self.room.sent(len(response))

    async def cancel(self, reader: "asyncio.Task[None]") -> None:
        """End what still runs."""
        # At once: whoever waits below may be cancelled in its turn.
        self._closed = True
        self._give(self._held)
        left = {*self._all, *self._aside, reader}
        for task in left:
            task.cancel()
        for ended in await asyncio.gather(*left, return_exceptions=True):
            if isinstance(ended, BaseException):
                # It came through frames that know this line, which knows the task that has it.
                forget_frames(ended)
        self._all.clear()


def _ends(call: Call, error: Exception) -> bool:
    """Whether *error*, one request's, ends the stream as well: its client may want that.

    So does the end of the key that the stream was opened with.
    The stream's deadline does: the store, a worker, this gateway and gRPC may each notice it
    first, and whoever does, its client is told DEADLINE_EXCEEDED as the stream's status.
    """
    if _ENDS_ON_ERROR in call.metadata or isinstance(error, Unauthenticated):
        return True
    if not isinstance(error, PenstockError) or error.code is not Code.DEADLINE_EXCEEDED:
        return False
    return call.deadline.remaining_s() <= _EARLY_S


def _wants_final(request: pb.ModelInferRequest) -> bool:
    """Whether the client asked for the final response, which holds nothing."""
    key = "triton_enable_empty_final_response"
    return key in request.parameters and request.parameters[key].bool_param


def success(body: bytes, *, final: bool = True) -> bytes:
    """The stream's response with *body*, a serialized ModelInferResponse."""
    mark = _MARKS[final]
    head = wire.bytes_field(_INFER_RESPONSE, len(body) + len(mark))
    return b"".join((head, body, mark))


def failure(message: wire.Buffer, text: str) -> bytes:
    """The stream's response to the request *message* that failed: only its id comes back."""
    return pb.ModelStreamInferResponse(
        error_message=text, infer_response=pb.ModelInferResponse(id=_id_of(message))
    ).SerializeToString()


def _id_of(message: wire.Buffer) -> str:
    try:
        return wire.take_apart(message).id
    except (wire.Malformed, PenstockError):
        return ""
