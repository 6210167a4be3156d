"""Streams: many requests over one RPC. Bytes in, bytes out; no gRPC types here.

The requests of a stream run at once, and are answered in the order in which they came, as Triton
does for models that answer each request once. A failed request is answered in its turn, and the
stream goes on, unless its client asked for the stream to end with the failure's status.
"""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from penstock.errors import ShuttingDown
from penstock.gateway import admission
from penstock.gateway.inference import Inference
from penstock.gateway.status import told
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire

MOST_IN_FLIGHT: Final = 256
"""Requests of one stream that may be unanswered; no more are read until one is answered."""

_INFER_RESPONSE = 2
_FINAL = pb.ModelInferResponse()
_FINAL.parameters["triton_final_response"].bool_param = True
_IS_FINAL: Final = _FINAL.SerializeToString()

Respond = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class StreamTerms:
    """How a client wants its stream.

    Attributes:
        remaining_s: tells how long the stream has until its deadline; None without one.
        ends_on_error: the first failure ends the stream with its status.
    """

    remaining_s: Callable[[], float | None]
    ends_on_error: bool = False


class Streams:
    """All streams of one gateway process."""

    def __init__(self, inference: Inference, most_in_flight: int = MOST_IN_FLIGHT) -> None:
        self._inference = inference
        self._most_in_flight = most_in_flight
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False

    def __repr__(self) -> str:
        return f"Streams({len(self._readers)} open)"

    def drain(self) -> None:
        """Read no more requests; what was read is answered, and then each stream ends."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    async def run(
        self, requests: AsyncIterable[bytes], respond: Respond, terms: StreamTerms
    ) -> None:
        """Answer *requests*, serialized ModelInferRequests, until there are no more.

        A cancelled caller takes the jobs of all its requests out of the queue.

        Args:
            respond: takes each serialized ModelStreamInferResponse.

        Raises:
            PenstockError: the status that the stream ends with: the first failure, where the
                terms say so, or ShuttingDown.
        """
        line = _Line(self._most_in_flight)
        reader = asyncio.create_task(self._read(requests, line, terms))
        reader.add_done_callback(line.end)
        self._readers.add(reader)
        if self._draining:
            reader.cancel()
        try:
            while (answer := await line.next()) is not None:
                await respond(await answer)
                line.answered(answer)
            if not reader.cancelled():
                reader.result()
            elif self._draining:
                self._inference.turned_away += 1
                raise ShuttingDown(admission.SHUTTING_DOWN)
        finally:
            self._readers.discard(reader)
            await line.cancel(reader)

    async def _read(
        self, requests: AsyncIterable[bytes], line: "_Line", terms: StreamTerms
    ) -> None:
        await line.room()
        async for message in requests:
            line.add(asyncio.create_task(self._answer(message, terms)))
            await line.room()

    async def _answer(self, message: bytes, terms: StreamTerms) -> bytes:
        try:
            body = await self._inference.infer(message, terms.remaining_s())
        except Exception as error:
            if terms.ends_on_error:
                raise
            return failure(message, told(error).text)
        return success(body)


class _Line:
    """The unanswered requests of one stream, in order."""

    def __init__(self, most: int) -> None:
        self._waiting: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
        self._all: set[asyncio.Task[bytes]] = set()
        self._room = asyncio.Semaphore(most)

    async def room(self) -> None:
        """Wait until one more may be read."""
        await self._room.acquire()

    def add(self, answer: "asyncio.Task[bytes]") -> None:
        """Put the latest request's answer at the end."""
        self._all.add(answer)
        self._waiting.put_nowait(answer)

    def end(self, _: object = None) -> None:
        """No more will come."""
        self._waiting.put_nowait(None)

    async def next(self) -> "asyncio.Task[bytes] | None":
        """The first that is not answered; None after the last."""
        return await self._waiting.get()

    def answered(self, answer: "asyncio.Task[bytes]") -> None:
        """The one that `next` gave has been sent."""
        self._all.discard(answer)
        self._room.release()

    async def cancel(self, reader: "asyncio.Task[None]") -> None:
        """End what still runs."""
        left: set[asyncio.Task[bytes] | asyncio.Task[None]] = {*self._all, reader}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def success(body: bytes) -> bytes:
    """The stream's response with *body*, a serialized ModelInferResponse: the only one."""
    head = wire.bytes_field(_INFER_RESPONSE, len(body) + len(_IS_FINAL))
    return b"".join((head, body, _IS_FINAL))


def failure(message: bytes, text: str) -> bytes:
    """The stream's response to the request *message* that failed: only its id comes back."""
    return pb.ModelStreamInferResponse(
        error_message=text, infer_response=pb.ModelInferResponse(id=_id_of(message))
    ).SerializeToString()


def _id_of(message: bytes) -> str:
    try:
        return pb.ModelInferRequest.FromString(message).id
    except DecodeError:
        return ""
