"""Hops: connections between the stages of a group, and what goes over them.

Each later stage listens on an abstract Unix socket that is named after its boot id, as lanes are
(ADR 0019), and where the group may have other machines for a stream as well (`hop_streams`). The
head connects with all of them, each stage with the next, and what goes over are lanes' frames:

PLACES   to a stage, before FORM: where all stages are, as JSON; older workers pass over it
FORM     to a stage, from a head: the group that it shall be in, as JSON: boot ids, and the number
FORMED   to the head: it is in it
TAKEN    to the head: it is in another, or is about to end
MESSAGE  to the next stage: a batch, see `penstock.workers.language.message`
TOKENS   to the head, from the last stage: what a message brought
PING     to a stage: is it there?
PONG     to the head: it is
LEAVING  to the head: the stage is to end, as soon as the head has let go of it
"""

import asyncio
import json
import socket
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

import structlog

from penstock.errors import PenstockError
from penstock.transport.lane import Frames, connect, frame, stream_of
from penstock.workers.language.message import Unreadable, epoch_of

log = structlog.get_logger()

FORMAT: Final = "3"
"""It changes with the frames, and with the messages in them: none goes to another one."""

_START: Final = f"penstock-hop-{FORMAT}-"


class HopKind(IntEnum):
    """What a frame is about."""

    FORM = 1
    FORMED = 2
    TAKEN = 3
    MESSAGE = 4
    TOKENS = 5
    PING = 6
    PONG = 7
    LEAVING = 8
    PLACES = 9


class Membership(NamedTuple):
    """A group: the boot ids of its stages in order, and which one of its head's it is."""

    boot_ids: tuple[str, ...]
    number: int

    @property
    def epoch(self) -> bytes:
        """What all of its messages have."""
        return epoch_of(self.boot_ids, self.number)

    def packed(self) -> bytes:
        """What a FORM frame holds."""
        return json.dumps([self.boot_ids, self.number]).encode()

    @classmethod
    def of(cls, content: bytes) -> "Membership":
        """What a FORM frame says.

        Raises:
            Unreadable: it does not say that.
        """
        try:
            boot_ids, number = json.loads(content)
            return cls(tuple(map(str, boot_ids)), int(number))
        except (ValueError, TypeError) as error:
            raise Unreadable("a head says nothing of its group") from error


class HopPlace(NamedTuple):
    """Where a stage is.

    Attributes:
        domain: the memory domain of its process: a socket leads to whoever has the same.
        address: where it listens for streams from other machines; empty for nowhere.
    """

    domain: str
    address: str


def packed_places(places: Sequence[HopPlace]) -> bytes:
    """What a PLACES frame holds."""
    return json.dumps(places).encode()


def places_in(content: bytes) -> tuple[HopPlace, ...]:
    """What a PLACES frame says.

    Raises:
        Unreadable: it does not say that.
    """
    try:
        return tuple(HopPlace(str(domain), str(address)) for domain, address in json.loads(content))
    except (ValueError, TypeError) as error:
        raise Unreadable("a head does not say where the stages of its group are") from error


def listening_name(boot_id: str) -> str:
    """Where the stage of this *boot_id* listens; empty where there are no such sockets."""
    return f"{_START}{boot_id}" if sys.platform == "linux" else ""


def call_stage(boot_id: str) -> socket.socket:
    """A socket that is connected with the stage of this *boot_id*.

    Raises:
        OSError: it does not listen, in this network namespace.
    """
    return connect(listening_name(boot_id))


class Hop(Protocol):
    """A connection with the worker of another stage, whatever carries it."""

    def write(self, kind: HopKind, parts: Sequence[bytes]) -> None:
        """Send a frame."""

    def hang_up(self) -> None:
        """End it at once; its peer is `lost` soon."""


class Peer:
    """The worker at the other end of a hop."""

    def __init__(self) -> None:
        self._hop: Hop | None = None

    @property
    def is_there(self) -> bool:
        """Whether the hop has not ended."""
        return self._hop is not None

    def found(self, hop: Hop) -> None:
        """For *hop*: it has begun."""
        self._hop = hop

    def ended(self) -> None:
        """For the hop: it has ended."""
        self._hop = None
        self.lost()

    def heard(self, kind: int, content: bytes) -> None:
        """For the hop: a frame has come."""
        if self._hop is None:
            return
        try:
            self.hear(kind, content)
        except PenstockError as error:
            log.warning("another stage sends what cannot be, it is hung up on", why=str(error))
            self.hang_up()

    def hear(self, kind: int, content: bytes) -> None:
        """A frame has come."""

    def lost(self) -> None:
        """The hop has ended."""

    def write(self, kind: HopKind, parts: Sequence[bytes] = ()) -> None:
        """Send a frame, if the hop has not ended."""
        if self._hop is not None:
            self._hop.write(kind, parts)

    def hang_up(self) -> None:
        """End the hop at once."""
        hop, self._hop = self._hop, None
        if hop is not None:
            hop.hang_up()


class SocketHop(asyncio.Protocol):
    """A hop on this machine."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For the transport."""
        self._transport = stream_of(transport)
        if self._transport is not None:
            self._peer.found(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """For the transport."""
        del exc  # whatever it was: nothing more comes
        self._transport = None
        self._peer.ended()

    def data_received(self, data: bytes) -> None:
        """For the transport."""
        for kind, content in self._frames.feed(data):
            self._peer.heard(kind, content)

    def write(self, kind: HopKind, parts: Sequence[bytes]) -> None:
        """As `Hop`."""
        if self._transport is not None:
            self._transport.writelines(frame(kind, *parts))

    def hang_up(self) -> None:
        """As `Hop`."""
        if self._transport is not None:
            self._transport.abort()
