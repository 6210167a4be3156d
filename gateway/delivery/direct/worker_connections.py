"""Worker connections: with workers on this gateway's machine, each with the jobs that it took.

One that ends, or is silent for too long, leaves all of its jobs: none is lost. If it ended with its
worker, one of them may have been the reason.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from penstock.clock import Clock, monotonic
from penstock.errors import Code
from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.types import NewJob, Reply
from penstock.scheduler.requests.job_sink import OnOutcome
from penstock.transport.lane import (
    LEFT,
    Frames,
    Kind,
    LaneEnd,
    LaneJob,
    Malformed,
    ends_in,
    frame,
    packed_callers,
    packed_jobs,
    room_in,
    stream_of,
)

log = structlog.get_logger()

SILENCE_S: Final = 1.0
"""A worker that has said nothing of its jobs for so long is taken for dead: they are short."""

_CODES: Final = {int(code): code for code in Code}
_LAST_NUMBER: Final = (1 << 32) - 1


class DirectJob(NamedTuple):
    """A job that may be handed over, with all that the queue needs to know if it is not.

    Attributes:
        wanted: somebody waits for it still.
    """

    job: NewJob
    limits: QueueLimits
    on_outcome: OnOutcome
    wanted: bool = True


Left = Callable[[list[DirectJob]], None]
"""Gets jobs that a worker will not end."""


@dataclass(eq=False)
class WorkerConnection(asyncio.Protocol):
    """The connection with one worker; at first it is not connected yet.

    Args:
        gateway: the boot id of this one.
        left: gets those that the worker has not begun, or says nothing of.
        broken: gets those that it had when it died.
        free: is called when the worker has become free, or takes no more.

    Attributes:
        room: rows that the worker takes at a time; 0 while it takes none.
        lost: it has ended.
    """

    _gateway: str
    _left: Left
    _broken: Left
    _free: Callable[[], None]
    _clock: Clock = monotonic
    _frames: Frames = field(default_factory=Frames, init=False)
    _handed: dict[int, DirectJob] = field(default_factory=dict, init=False)
    _numbers: dict[str, int] = field(default_factory=dict, init=False)
    _last_number: int = field(default=0, init=False)
    room: int = field(default=0, init=False)
    _heard_s: float = field(default=0.0, init=False)
    _asking: list[asyncio.Future[None]] = field(default_factory=list, init=False)
    # Its end is not its worker's death.
    _cut: bool = field(default=False, init=False)
    _transport: asyncio.Transport | None = field(default=None, init=False)
    lost: bool = field(default=False, init=False)

    def __repr__(self) -> str:
        return f"WorkerConnection(room for {self.room}, {len(self._handed)} jobs)"

    def __contains__(self, job: str) -> bool:
        return job in self._numbers

    @property
    def is_silent(self) -> bool:
        """Whether the worker should have said something of its jobs by now."""
        return bool(self._handed) and self._clock() - self._heard_s > SILENCE_S

    @property
    def is_idle(self) -> bool:
        """Whether the worker has nothing of this gateway's."""
        return not self._handed

    @property
    def is_free(self) -> bool:
        """Whether the worker has room, and nothing of this gateway's."""
        return self.room > 0 and not self._handed and self._transport is not None

    def hand(self, jobs: Iterable[DirectJob]) -> None:
        """Give the worker jobs, of no more rows than it has room for; all of them, or none."""
        if self._transport is None:
            raise AssertionError("there is nobody to hand them to")
        taken: list[LaneJob] = []
        handed: dict[int, DirectJob] = {}
        self._heard_s = self._clock()
        since_us = int(self._heard_s * 1e6)
        for direct in jobs:
            job = direct.job
            number = self._last_number = self._last_number % _LAST_NUMBER + 1
            handed[number] = direct
            taken.append(LaneJob(number, job.rows, job.ttl_ms, since_us, bytes(job.payload)))
        whose = [(number, one.job.caller) for number, one in handed.items() if one.job.caller]
        if whose:
            self._transport.writelines(packed_callers(whose))
        self._transport.writelines(packed_jobs(taken))
        self._handed |= handed
        self._numbers |= {direct.job.id: number for number, direct in handed.items()}

    def forget(self, job: str) -> bool:
        """Nobody waits for *job* any more; whether the worker has it."""
        number = self._numbers.pop(job, None)
        if number is None:
            return False
        self._handed[number] = self._handed[number]._replace(wanted=False)
        return True

    async def noted(self) -> None:
        """Wait until all that the worker has ended so far is counted, or it is gone."""
        if self._transport is None:
            return
        noted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking.append(noted)
        self._transport.writelines(frame(Kind.NOTED))
        # A worker that is silent need not be waited for: it ends nothing, either.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                await noted

    def close(self) -> None:
        """End the connection; what the worker has is left."""
        self._cut = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For the transport."""
        self._transport = stream_of(transport)
        if self._transport is None:
            log.warning("another user's process has a worker's address, and is refused")
            return
        self._transport.writelines(frame(Kind.HELLO, self._gateway.encode()))

    def connection_lost(self, exc: Exception | None) -> None:
        """For the transport."""
        self.lost, self.room, self._transport = True, 0, None
        self._on_noted(len(self._asking))
        if self._handed:
            log.info(
                "a worker's connection has ended, its jobs are queued",
                jobs=len(self._handed),
                why=str(exc),
            )
            self._pass_on(list(self._handed), self._left if self._cut else self._broken)
        self._free()

    def data_received(self, data: bytes) -> None:
        """For the transport."""
        self._heard_s = self._clock()
        try:
            for kind, content in self._frames.feed(data):
                self._take(kind, content)
        except Malformed as error:
            # None of its jobs is to blame: they are left, not broken.
            log.warning(
                "a worker sends what cannot be read, its connection is closed", why=str(error)
            )
            self.room = 0
            self.close()
        self._free()

    def _take(self, kind: int, content: bytes) -> None:
        if kind == Kind.ENDED:
            self._hear(ends_in(content))
        elif kind == Kind.ROOM:
            self.room = room_in(content)
        elif kind == Kind.NOTED:
            self._on_noted(1)
        elif kind == Kind.BYE:
            self.room, self._cut = 0, True

    def _hear(self, ends: Iterable[LaneEnd]) -> None:
        left: list[int] = []
        for number, code, message, body in ends:
            if number not in self._handed or number in left:
                raise Malformed(f"the worker has no job {number}")
            if code == LEFT:
                left.append(number)
                continue
            direct = self._take_back(number)
            if direct.wanted:
                known = _CODES.get(code, Code.UNKNOWN)
                direct.on_outcome(Reply(direct.job.id, known, message, body))
        if left:
            # It says so when it has room again.
            self.room = 0
            self._pass_on(left, self._left)

    def _pass_on(self, numbers: Iterable[int], to: Left) -> None:
        jobs = [direct for direct in map(self._take_back, numbers) if direct.wanted]
        if jobs:
            to(jobs)

    def _take_back(self, number: int) -> DirectJob:
        direct = self._handed.pop(number)
        self._numbers.pop(direct.job.id, None)
        return direct

    def _on_noted(self, count: int) -> None:
        for noted in self._asking[:count]:
            if not noted.done():
                noted.set_result(None)
        del self._asking[:count]
