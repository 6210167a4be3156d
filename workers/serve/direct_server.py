"""The direct server: takes jobs from gateways on the same machine while its worker sleeps.

Such a job is in no queue and has no lease: its gateway keeps it, and queues it as soon as it is
left, or its worker gone (ADR 0019). A worker that is not asleep leaves it at once, so that nobody
gets ahead of what waits in the queue.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Final, NamedTuple

import structlog

from penstock.errors import Code
from penstock.scheduler.jobs.direct import DirectCounters, EndedJob
from penstock.scheduler.jobs.types import Lease, Missing, Outcome, Timing
from penstock.transport.arena import ArenaReader, Borrowed, OutOfReach, is_handle
from penstock.transport.lane import (
    LEFT,
    Frames,
    Kind,
    LaneEnd,
    LaneJob,
    Malformed,
    callers_in,
    frame,
    jobs_in,
    lane_name,
    listen,
    packed_ends,
    packed_room,
    stream_of,
)
from penstock.workers.serve.worker import Worker

log = structlog.get_logger()

_NEWS: Final = 2
"""A gateway hears of a room that has become so many times larger or smaller."""


class DirectServer:
    """Where gateways beside a worker come to.

    Attributes:
        name: under which it listens; empty where it does not.
        callers: the gateways that came.
    """

    def __init__(self, worker: Worker, counters: DirectCounters) -> None:
        self.worker = worker
        self.counters = counters
        self.arenas = ArenaReader()
        self.callers: set[_Caller] = set()
        self._tokens = count(1)
        self.name = ""

    def __repr__(self) -> str:
        return f"DirectServer({self.name}, {len(self.callers)} gateways)"

    @contextlib.asynccontextmanager
    async def open(self, boot_id: str) -> AsyncIterator[None]:
        """Listen, where this worker and this system can."""
        name = lane_name(boot_id) if self.worker.may_be_handed else ""
        try:
            listening = listen(name) if name else None
        except OSError as error:
            log.warning(
                "gateways cannot send jobs directly, all come from the queue", why=str(error)
            )
            listening = None
        if listening is None:
            yield
            return
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: _Caller(self, next(self._tokens)), sock=listening
        )
        self.name = name
        self.worker.on_sleep = self._report_room_to_all
        try:
            yield
        finally:
            self.counters.send()
            server.close()
            for caller in list(self.callers):
                caller.hang_up()

    def _report_room_to_all(self) -> None:
        for caller in self.callers:
            caller.report_room()


class _Held(NamedTuple):
    """What is to be known of a job until it has ended."""

    number: int
    rows: int
    since_us: int
    begun_us: int
    borrowed: Borrowed | None
    caller: str
    size: int


class _Caller(asyncio.Protocol):
    """One gateway, on its lane."""

    def __init__(self, server: DirectServer, number: int) -> None:
        self._server = server
        self._worker = server.worker
        self._token = f"lane {number}"
        self._frames = Frames()
        self._jobs: dict[str, _Held] = {}
        self._whose: dict[int, str] = {}
        self._gateway = ""
        self._reported = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For the transport."""
        self._transport = stream_of(transport)
        if self._transport is None:
            log.warning("another user's process connected, and was refused")
            return
        self._server.callers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """For the transport."""
        del exc  # whatever it was: the gateway hears nothing more
        self._transport = None
        self._server.callers.discard(self)

    def data_received(self, data: bytes) -> None:
        """For the transport."""
        try:
            for kind, content in self._frames.feed(data):
                self._hear(kind, content)
        except Malformed as error:
            log.warning(
                "a gateway sends what cannot be read, its connection is closed", why=str(error)
            )
            if self._transport is not None:
                self._transport.abort()

    def _hear(self, kind: int, content: bytes) -> None:
        if kind == Kind.JOBS:
            self._take(list(jobs_in(content)))
            self._whose = {}
        elif kind == Kind.CALLERS:
            self._whose = dict(callers_in(content))
        elif kind == Kind.HELLO:
            self._gateway = content.decode(errors="replace")
            self.report_room()
        elif kind == Kind.NOTED:
            self._server.counters.send(then=self._on_noted)

    def _on_noted(self) -> None:
        self._write(frame(Kind.NOTED))

    def hang_up(self) -> None:
        """Say so, and end the lane once everything is written."""
        self._write(frame(Kind.BYE))
        if self._transport is not None:
            self._transport.close()

    async def break_off(self) -> None:
        """See `ResultSink.break_off`: the lane ends as with a worker's death."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def report_room(self) -> None:
        """Say how much is welcome at a time, where that is news."""
        rows = self._worker.rows_at_once()
        if rows != self._reported and not rows < self._reported * _NEWS < rows * _NEWS * _NEWS:
            self._reported = rows
            self._write(packed_room(rows))

    def settle(self, token: str, rows: int, timing: Timing, outcomes: Sequence[Outcome]) -> None:
        """See `ResultSink.settle`; a gateway that is gone has queued its jobs."""
        del token  # all are this gateway's
        if self._transport is None:
            return
        now_us = time.monotonic_ns() // 1000
        ends: list[LaneEnd] = []
        ended: list[EndedJob] = []
        for outcome in outcomes:
            job = self._jobs.pop(outcome.job)
            right = job.borrowed is None or job.borrowed.is_intact()
            _, code, message, reply, _ = outcome if right else _taken_back(outcome)
            ends.append(LaneEnd(job.number, int(code), message, reply))
            waited_us, took_us = job.begun_us - job.since_us, now_us - job.since_us
            size = job.size + len(reply)
            ended.append(EndedJob(code, job.rows, waited_us, took_us, job.caller, size))
        self._write(packed_ends(ends))
        self._server.counters.add(rows, timing, ended)
        self.report_room()

    def give_back(self, token: str, jobs: Sequence[str]) -> None:
        """See `ResultSink.give_back`."""
        del token  # all are this gateway's
        # It is told of room again when the worker sleeps.
        self._reported = 0
        self._write(
            packed_ends([LaneEnd(self._jobs.pop(job).number, LEFT, "", b"") for job in jobs])
        )

    def _take(self, jobs: list[LaneJob]) -> None:
        now_us = time.monotonic_ns() // 1000
        leases = [self._lease(job, now_us) for job in jobs]
        if not self._worker.take(leases, self):
            self.give_back(self._token, [lease.id for lease in leases])

    def _lease(self, job: LaneJob, now_us: int) -> Lease:
        id_, borrowed = f"{self._gateway}~{job.number}", None
        if id_ in self._jobs:
            raise Malformed(f"job {job.number} comes twice")
        payload: bytes | memoryview | Missing = job.payload
        if is_handle(payload):
            try:
                borrowed = self._server.arenas.borrow(payload)
                payload = borrowed.view
            except OutOfReach as error:
                log.warning("a payload is out of reach", why=str(error))
                payload = Missing.OUT_OF_REACH
        size = 0 if isinstance(payload, Missing) else len(payload)
        whose = self._whose.get(job.number, "") if self._whose else ""
        self._jobs[id_] = _Held(job.number, job.rows, job.since_us, now_us, borrowed, whose, size)
        return Lease(
            id_,
            self._token,
            job.remaining_ms,
            job.rows,
            attempts=1,
            alone=False,
            wait_us=now_us - job.since_us,
            gateway=self._gateway,
            payload=payload,
        )

    def _write(self, parts: list[bytes]) -> None:
        if self._transport is not None:
            self._transport.writelines(parts)


def _taken_back(outcome: Outcome) -> Outcome:
    """What becomes of a job whose payload changed while it ran: nobody waits for it any more."""
    return Outcome(outcome.job, Code.DATA_LOSS, "the request's data was taken back", b"")
