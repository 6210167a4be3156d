"""Conversation: one connection to Redis that is up, commands out and answers in.

redis-py connects, greets and logs in; then the transport is taken over, since a coroutine for each
answer would cost more than the answer. hiredis writes and parses the protocol.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, Self, TypeVar

import hiredis
from redis.asyncio.connection import AbstractConnection

from penstock.errors import OutOfMemory, StoreRefused
from penstock.recent import kept

Argument = str | bytes | int | float
V = TypeVar("V")

_LARGE_BYTES: Final = 32 * 1024
"""An argument from this size on is not copied into the command, but sent beside it."""

_KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}
"""Seconds without a word before the first probe, seconds between two, and how many are in vain.

Systems that lack one keep their own.
"""

_MOST_OPENINGS: Final = 4096
"""Of scripts' commands: for each script and each partition."""

_NOTHING: Final = object()


class Refused(Exception):
    """Redis's answer was an error.

    Attributes:
        kind: its first word: "NOSCRIPT", "OOM", "MOVED" ...
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.kind = text.partition(" ")[0]


class Conversation(asyncio.Protocol):
    """What is said on one connection; `lost` is done once it has ended."""

    def __init__(self, hear: Callable[[Any], None]) -> None:
        """*hear* gets each answer in order; an error as `Refused`."""
        self._hear = hear
        self._reader = hiredis.Reader(replyError=Refused, notEnoughData=_NOTHING)
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    @classmethod
    def take_over(cls, connection: AbstractConnection, hear: Callable[[Any], None]) -> Self:
        """Go on where *connection* has logged in; nobody may read from that any more."""
        self = cls(hear)
        writer: Any = connection._writer  # noqa: SLF001 - redis-py offers no other way
        transport = writer.transport
        self._transport = transport
        transport.set_protocol(self)
        _keep_alive(transport)
        if transport.is_closing():
            self.connection_lost(None)
        return self

    def say(self, parts: Sequence[bytes]) -> None:
        """Send packed commands."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(parts)

    def end(self, why: Exception | None = None) -> None:
        """Cut the connection, because of *why*."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(why)

    def data_received(self, data: bytes) -> None:
        """For the transport."""
        reader, hear = self._reader, self._hear
        reader.feed(data)
        try:
            while not self.lost.done() and (answer := reader.gets()) is not _NOTHING:
                hear(answer)
        except hiredis.ProtocolError as error:
            self.end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """For the transport."""
        if not self.lost.done():
            self.lost.set_result(exc)


def _keep_alive(transport: asyncio.Transport) -> None:
    """Have the system notice a server whose machine is gone: nobody else does while all rest."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE.items():
        if (number := getattr(socket, option, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, number, value)


def pack_call(sha: str, prefix: str, args: Sequence[Argument]) -> list[bytes]:
    """A call of the script *sha* that has one key, *prefix*, as `pack` gives it."""
    parts = pack(args)
    count, opening = 4 + len(args), _opening_of(sha, prefix)
    parts[0] = b"*%d\r\n%b%b" % (count, opening, _without_count(parts[0]))
    return parts


@kept(_MOST_OPENINGS)
def _opening_of(sha: str, prefix: str) -> bytes:
    """The four words that such a call begins with, packed once."""
    return _without_count(pack(("EVALSHA", sha, 1, prefix))[0])


def _without_count(packed: bytes) -> bytes:
    return packed[packed.index(b"\n") + 1 :]


def pack(words: Sequence[Argument]) -> list[bytes]:
    """One command in Redis's protocol, as parts to be sent in order."""
    if not any(type(word) is bytes and len(word) >= _LARGE_BYTES for word in words):
        return [hiredis.pack_command(tuple(words))]
    parts: list[bytes] = []
    small = bytearray(b"*%d\r\n" % len(words))
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        small += b"$%d\r\n" % len(data)
        if len(data) < _LARGE_BYTES:
            small += data
        else:
            parts += bytes(small), data
            small.clear()
        small += b"\r\n"
    parts.append(bytes(small))
    return parts


def by_name(flat: Sequence[bytes], value: Callable[[bytes], V]) -> dict[str, V]:
    """Name -> value, of an answer in which each name is followed by its value."""
    return {k.decode(): value(v) for k, v in zip(flat[::2], flat[1::2], strict=True)}


def understood(answer: Any) -> Any:
    """*answer*, with Redis's own errors as Penstock's."""
    if not isinstance(answer, Refused):
        return answer
    # Valkey prefixes what a script raised; a full server refuses it before it starts.
    if "OOM" in str(answer):
        return OutOfMemory("the queue's memory is full (Redis maxmemory); try again later")
    return StoreRefused(f"Redis refused a command: {answer}")
