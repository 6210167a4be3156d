"""Lanes: a gateway and a worker of one machine, connected with nobody in between (ADR 0019).

A worker listens on an abstract Unix socket, which is in no file system and goes with its process;
gateways beside it connect. Both sides make sure that the other is the same user's. What goes over a
lane are frames: the size of what follows and its kind, and then, by kind,

HELLO  to the worker: the boot id of the gateway
JOBS   to the worker: jobs, each to be begun at once or to be left
ENDED  to the gateway: what became of jobs
ROOM   to the gateway: how many rows at a time the worker takes from now on
CALLERS  to the worker, before JOBS: whose these are; older workers pass over it
NOTED  to the worker, and back: the statistics count whatever it had ended before
BYE    to the gateway: the worker ends in order; what it has not ended by now it has not begun

Jobs have a number by which both sides call them. Times are of the machine's monotonic clock, which
all of its processes share. All numbers are little-endian.
"""

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, cast

from penstock.errors import PenstockError

_START: Final = "penstock-lane-1-"
"""The number changes with the frames: whoever knows another one does not connect."""

_HEAD: Final = struct.Struct("<IB")
_JOB: Final = struct.Struct("<IIIQI")
_END: Final = struct.Struct("<IBII")
_ROOM: Final = struct.Struct("<I")
_CALLER: Final = struct.Struct("<IB")
_CREDENTIALS: Final = struct.Struct("3i")

LEFT: Final = 255
"""In the place of a code: the worker has not begun the job, and will not."""


class Malformed(PenstockError):
    """What came over a lane are not its frames."""


class Kind(IntEnum):
    """What a frame is about."""

    HELLO = 1
    JOBS = 2
    ENDED = 3
    ROOM = 4
    NOTED = 5
    BYE = 6
    CALLERS = 7


class LaneJob(NamedTuple):
    """A job on its way to a worker.

    Attributes:
        number: of the job on its lane.
        rows: items along the batch dimension; 1 for models without one.
        remaining_ms: to its deadline.
        since_us: when its gateway had it.
        payload: a serialized ModelInferRequest, or a handle of one (`penstock.transport.arena`).
    """

    number: int
    rows: int
    remaining_ms: int
    since_us: int
    payload: bytes


class LaneEnd(NamedTuple):
    """What became of a job.

    Attributes:
        number: of the job on its lane.
        code: a status code, or `LEFT`.
        body: a serialized ModelInferResponse, where the code is 0.
    """

    number: int
    code: int
    message: str
    body: bytes


def lane_name(boot_id: str) -> str:
    """Where the worker of this *boot_id* listens; empty where there are no such sockets."""
    return f"{_START}{boot_id}" if sys.platform == "linux" else ""


def listen(name: str) -> socket.socket:
    """A socket that listens under *name*.

    Raises:
        OSError: it cannot.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind("\0" + name)
        listening.setblocking(False)
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def call(name: str) -> socket.socket:
    """A socket that is connected with whoever listens under *name*.

    Raises:
        OSError: nobody does, in this network namespace, who knows the same frames.
    """
    if not name.startswith(_START):
        raise OSError(f"lanes of another release: {name}")
    return connect(name)


def connect(name: str) -> socket.socket:
    """A socket that is connected with whoever listens under *name*, whatever is spoken there.

    Raises:
        OSError: nobody does, in this network namespace.
    """
    calling = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        calling.setblocking(False)
        calling.connect("\0" + name)
    except OSError:
        calling.close()
        raise
    return calling


def is_ours(transport: asyncio.BaseTransport) -> bool:
    """Whether the process at the other end is the same user's."""
    peer = transport.get_extra_info("socket")
    found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(found)[1]
    return user == os.geteuid()


def stream_of(transport: asyncio.BaseTransport) -> asyncio.Transport | None:
    """*transport*, as what it is; None if another user's process is there: it is hung up on."""
    # uvloop's are one in all but name.
    stream = cast(asyncio.Transport, transport)
    if is_ours(stream):
        return stream
    stream.abort()
    return None


def frame(kind: int, *parts: bytes) -> list[bytes]:
    """What is sent for one frame that holds *parts*."""
    return [_HEAD.pack(sum(map(len, parts)), kind), *parts]


def packed_jobs(jobs: Iterable[LaneJob]) -> list[bytes]:
    """The frame that hands jobs over."""
    parts: list[bytes] = []
    for number, rows, remaining_ms, since_us, payload in jobs:
        parts += _JOB.pack(number, rows, remaining_ms, since_us, len(payload)), payload
    return frame(Kind.JOBS, *parts)


def jobs_in(content: bytes) -> Iterator[LaneJob]:
    """The jobs of a frame.

    Raises:
        Malformed: it is cut off.
    """
    at, end = 0, len(content)
    while at < end:
        if end - at < _JOB.size:
            raise Malformed("a job is cut off")
        number, rows, remaining_ms, since_us, size = _JOB.unpack_from(content, at)
        at += _JOB.size + size
        if at > end:
            raise Malformed("a job is cut off")
        yield LaneJob(number, rows, remaining_ms, since_us, content[at - size : at])


def packed_callers(callers: Iterable[tuple[int, str]]) -> list[bytes]:
    """The frame that says whose jobs those are that follow, by their numbers."""
    parts: list[bytes] = []
    for number, caller in callers:
        name = caller.encode()
        parts += _CALLER.pack(number, len(name)), name
    return frame(Kind.CALLERS, *parts)


def callers_in(content: bytes) -> Iterator[tuple[int, str]]:
    """The callers of a frame, by the numbers of their jobs.

    Raises:
        Malformed: it is cut off.
    """
    at, end = 0, len(content)
    while at < end:
        if end - at < _CALLER.size:
            raise Malformed("a caller is cut off")
        number, size = _CALLER.unpack_from(content, at)
        at += _CALLER.size + size
        if at > end:
            raise Malformed("a caller is cut off")
        yield number, content[at - size : at].decode(errors="replace")


def packed_ends(ends: Iterable[LaneEnd]) -> list[bytes]:
    """The frame that says what became of jobs."""
    parts: list[bytes] = []
    for number, code, message, body in ends:
        text = message.encode()
        parts += _END.pack(number, code, len(text), len(body)), text, body
    return frame(Kind.ENDED, *parts)


def ends_in(content: bytes) -> Iterator[LaneEnd]:
    """What a frame says of jobs.

    Raises:
        Malformed: it is cut off.
    """
    at, end = 0, len(content)
    while at < end:
        if end - at < _END.size:
            raise Malformed("what became of a job is cut off")
        number, code, text, size = _END.unpack_from(content, at)
        at += _END.size
        message = content[at : at + text].decode(errors="replace")
        at += text + size
        if at > end:
            raise Malformed("what became of a job is cut off")
        yield LaneEnd(number, code, message, content[at - size : at])


def packed_room(rows: int) -> list[bytes]:
    """The frame that says how many rows at a time are welcome."""
    return frame(Kind.ROOM, _ROOM.pack(rows))


def room_in(content: bytes) -> int:
    """How many rows at a time are welcome.

    Raises:
        Malformed: it says nothing of the kind.
    """
    if len(content) != _ROOM.size:
        raise Malformed(f"a room of {len(content)} bytes")
    rows: int = _ROOM.unpack(content)[0]
    return rows


class Frames:
    """Cuts what comes over a lane into its frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Sequence[tuple[int, bytes]]:
        """The frames that *data* completes, as (kind, content)."""
        if self._rest:
            self._rest += data
            if not _holds_one(self._rest):
                return ()
            data, self._rest = bytes(self._rest), bytearray()
        found: list[tuple[int, bytes]] = []
        at = 0
        while len(data) - at >= _HEAD.size:
            size, kind = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + size
            if end > len(data):
                break
            found.append((kind, data[at + _HEAD.size : end]))
            at = end
        if at < len(data):
            self._rest += data[at:]
        return found


def _holds_one(data: bytearray) -> bool:
    """Whether *data* begins with a whole frame."""
    return len(data) >= _HEAD.size and len(data) >= _HEAD.size + _HEAD.unpack_from(data)[0]
