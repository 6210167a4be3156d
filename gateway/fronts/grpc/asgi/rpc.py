"""One RPC over ASGI, from its headers to its trailers.

Whoever cancels the RPC's task ends the RPC: its server when the client has gone, the timer here
when its deadline has passed, and a gateway that stops. What its client hears is decided here.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from penstock.clock import NO_DEADLINE, Deadline
from penstock.errors import Code
from penstock.gateway.fronts.asgi import Event, Receive, Send
from penstock.gateway.fronts.compression import KNOWN, LONG, TooLarge, inflated
from penstock.gateway.fronts.grpc.asgi import wire
from penstock.gateway.fronts.grpc.connections import is_local
from penstock.gateway.fronts.grpc.rpc import Method
from penstock.gateway.fronts.grpc.statuses import end_with
from penstock.gateway.offload import Offload
from penstock.gateway.requests.call import Call
from penstock.protos.wire import Buffer

_HEAD: Final = [
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", wire.ENCODINGS),
]
_START: Final = {
    "type": "http.response.start",
    "status": 200,
    "headers": _HEAD,
    "trailers": True,
}
_OK: Final = {
    "type": "http.response.trailers",
    "headers": wire.status_headers(Code.OK),
    "more_trailers": False,
}
_NOTHING: Final = {"type": "http.response.body", "body": b"", "more_body": False}


@dataclass(slots=True)
class Terms:
    """What holds for all RPCs of a server.

    Attributes:
        most_bytes: of a message.
        compression: of replies, for clients that take it.
        offload: where long messages are compressed and decompressed.
        ending: the gateway stops, and cancels what takes too long.
    """

    most_bytes: int
    compression: bytes
    offload: Offload
    ending: bool = False


class AsgiRpc:
    """An RPC that an ASGI server carries.

    Attributes:
        call: as `Rpc.call`.
    """

    __slots__ = (
        *("call", "_terms", "_receive", "_send", "_buffer", "_at", "_ended", "_started"),
        *("_encoding", "_compression", "_failure", "_gone", "_late"),
    )

    def __init__(
        self,
        connection: str,
        asked: wire.Asked,
        terms: Terms,
        io: tuple[Receive, Send],
        certificate: tuple[str, ...] = (),
    ) -> None:
        self._receive, self._send = io
        remaining_s = asked.remaining_s
        self.call = Call(
            NO_DEADLINE if remaining_s is None else Deadline.after(remaining_s),
            connection,
            is_local(connection),
            asked.metadata,
            certificate=certificate,
        )
        self._terms = terms
        self._encoding = asked.encoding
        compression = terms.compression
        if compression != wire.IDENTITY and not wire.accepts(asked.accepted, compression):
            compression = wire.IDENTITY
        self._compression = compression
        self._buffer, self._at = b"", 0
        self._ended = self._started = self._gone = self._late = False
        self._failure: list[wire.Header] | None = None

    async def read(self) -> Buffer | None:
        """As `Rpc.read`; one reader at a time.

        Raises:
            WireError: the client's bytes are no message.
            TooLarge: it has more bytes than it may.
        """
        while len(self._buffer) - self._at < wire.PREFIX_BYTES:
            if self._ended:
                if len(self._buffer) > self._at:
                    raise _cut_off()
                return None
            part = self._part_of(await self._receive())
            self._buffer, self._at = self._buffer[self._at :] + part, 0
        begin = self._at + wire.PREFIX_BYTES
        compressed, size = self._buffer[self._at], self._buffer[self._at + 1 : begin]
        message = await self._message(begin, int.from_bytes(size, "big"))
        return await self._inflated(bytes(message)) if compressed else message

    async def write(self, message: bytes) -> None:
        """As `Rpc.write`; one writer at a time."""
        if not self._started:
            await self._start()
        body = await self._framed(message)
        await self._put({"type": "http.response.body", "body": body, "more_body": True})

    def fail(self, status: int, text: str, trailing: Sequence[tuple[str, str | bytes]]) -> None:
        """As `Rpc.fail`."""
        self._failure = wire.status_headers(status, text, trailing)

    async def run(self, method: Method) -> None:
        """Answer it by *method*."""
        task, timer, reply = asyncio.current_task(), None, None
        if task is None:
            raise AssertionError("RPCs have tasks")
        if self.call.deadline is not NO_DEADLINE:
            remaining_s = self.call.deadline.remaining_s()
            timer = asyncio.get_running_loop().call_later(remaining_s, self._pass, task)
        try:
            try:
                reply = await method.handle(self)
            except asyncio.CancelledError:
                if self._gone or not self._ended_by_us(task):
                    return
            except Exception as error:  # noqa: BLE001 - its status says which
                end_with(self, error)
            await self._end(reply)
        except asyncio.CancelledError:
            # Nobody is there who could be told.
            pass
        finally:
            if timer is not None:
                timer.cancel()
            # It keeps its error, whose frames know it.
            del task

    async def refuse(self, error: Exception) -> None:
        """End it with *error* before it has begun."""
        end_with(self, error)
        with contextlib.suppress(asyncio.CancelledError):
            await self._end(None)

    def _pass(self, task: "asyncio.Task[Any]") -> None:
        """Its deadline has passed."""
        self._late = True
        task.cancel()

    def _ended_by_us(self, task: "asyncio.Task[Any]") -> bool:
        """Whether it was cancelled here; then why is its status, and somebody may hear that.

        Otherwise its client has gone: with a connection all its calls go at once, and telling each
        of them would hold up everybody else.
        """
        if not task.cancelling():
            # `Calls.read` ends what has no message.
            self.fail(Code.INVALID_ARGUMENT, "the call has no message", ())
            return True
        while task.cancelling():
            task.uncancel()
        if self._late:
            self.fail(Code.DEADLINE_EXCEEDED, "Deadline Exceeded", ())
        elif self._terms.ending:
            self.fail(Code.UNAVAILABLE, "the gateway ended before it could answer", ())
        return self._late or self._terms.ending

    async def _message(self, begin: int, size: int) -> Buffer:
        """The message of *size* bytes that begins in the buffer."""
        if size > self._terms.most_bytes:
            raise TooLarge(
                f"Received message larger than max ({size} vs. {self._terms.most_bytes})"
            )
        end = begin + size
        if len(self._buffer) == end and size >= LONG:
            # As it came from a client that makes frames so large. To have it without what is before
            # it would be one copy more.
            view = memoryview(self._buffer)[begin:]
            self._buffer, self._at = b"", 0
            return view
        if len(self._buffer) >= end:
            message, self._at = self._buffer[begin:end], end
            return message
        parts = [self._buffer[begin:]]
        left = size - len(parts[0])
        self._buffer, self._at = b"", 0
        receive = self._receive
        while left > 0:
            if self._ended:
                raise _cut_off()
            # Of 600 KB there may be 37: none has a coroutine of its own.
            part = self._part_of(await receive())
            if len(part) > left:
                part, self._buffer = part[:left], part[left:]
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _part_of(self, event: Event) -> bytes:
        """What has come of the body."""
        if event["type"] == "http.disconnect":
            self._leave()
        self._ended = not event.get("more_body", False)
        body: bytes = event.get("body", b"")
        return body

    async def _inflated(self, message: bytes) -> bytes:
        if self._encoding not in KNOWN:
            raise wire.WireError("a message is compressed, and there is no grpc-encoding")
        terms = self._terms
        return await inflated(message, self._encoding, terms.most_bytes, terms.offload)

    async def _framed(self, message: bytes) -> bytes:
        if self._compression == wire.IDENTITY or len(message) <= LONG:
            return wire.framed(message, self._compression)
        return await self._terms.offload.run(wire.framed, message, self._compression)

    async def _start(self) -> None:
        self._started = True
        await self._put(self._start_event())

    def _start_event(self) -> Event:
        if self._compression == wire.IDENTITY:
            return _START
        headers = [*_HEAD, (b"grpc-encoding", self._compression)]
        return {**_START, "headers": headers}

    async def _end(self, reply: bytes | None) -> None:
        """Send the only *reply*, if there is one, and the status."""
        if reply is not None and self._failure is None:
            plain = self._compression == wire.IDENTITY
            body = wire.framed(reply) if plain else await self._framed(reply)
            whole = {"type": "http.response.body", "body": body, "more_body": False}
            await self._put(self._start_event(), whole, _OK)
        elif self._started or self._failure is None:
            if not self._started:
                await self._start()
            await self._put(
                _NOTHING, _OK if self._failure is None else {**_OK, "headers": self._failure}
            )
        else:
            # Trailers only: the status is in the headers, and nothing comes after them.
            headers = [*_HEAD[:1], *self._failure]
            await self._put(
                {"type": "http.response.start", "status": 200, "headers": headers}, _NOTHING
            )

    async def _put(self, *events: Event) -> None:
        try:
            for event in events:
                await self._send(event)
        except OSError:
            self._leave()

    def _leave(self) -> NoReturn:
        """End it: its client has gone, so that nobody hears a status."""
        self._gone = True
        raise asyncio.CancelledError


def _cut_off() -> wire.WireError:
    return wire.WireError("the request ends within a message")
