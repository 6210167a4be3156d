"""The supervisor of one placed worker: starts it, watches it, and starts it again when it ends.

It starts the process, sees it end, hands its jobs to others at once, and starts it again after a
pause that grows while it keeps failing. While no process runs, it announces the worker instead. A
process that runs and gives no sign of life is killed (`heartbeat_pipe`). Not all of a node's
workers start at once (`start_limit`).
"""

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import structlog

import penstock
from penstock.errors import PenstockError
from penstock.process.forking.launch import Launch, Process, start_program
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import worker_id
from penstock.settings import WORKER_DRAIN_S, WORKER_SILENCE_S
from penstock.workers.liveness.exits import BROKEN, CANNOT_LOAD, DRAINED, SILENT, reason_of
from penstock.workers.liveness.heartbeat_pipe import VARIABLE, HeartbeatPipe, heartbeat_pipe
from penstock.workers.node.start_limit import StartLimit, StartPermit

log = structlog.get_logger()

T = TypeVar("T")

STEADY_S: Final = 10.0
"""A worker that lived longer than this before it ended is started again without a long pause."""

MOST_START_S: Final = 60.0
"""A start that takes longer no longer keeps others from theirs."""

MOST_UNREADY: Final = 5
"""A worker that ends so many times in a row before it was ready is not counted on any more."""

_ANNOUNCE_EVERY_S: Final = 1.0
_WAS_READY: Final = frozenset({pb.WORKER_STATE_READY, pb.WORKER_STATE_DRAINING})


class ClusterPort(Protocol):
    """What a supervisor tells the cluster."""

    async def announce(self, record: pb.Worker) -> None:
        """Say what becomes of the worker, in its place."""

    async def recorded(self, id_: str) -> pb.Worker | None:
        """What the worker said of itself last."""

    async def release_leases_of(self, model: str, boot_id: str) -> None:
        """The process with this boot id has ended: others get its jobs now."""


Command = Callable[[pb.Worker, pb.Placement], list[str]]
"""The command line that runs a worker."""


@dataclass(frozen=True, slots=True)
class Starts:
    """How this node's workers start.

    Attributes:
        limit: who may start now; nobody waits for others where each has one of its own.
        launch: starts a process.
        environment: the workers' variables; as a rule this process's.
    """

    limit: StartLimit = field(default_factory=lambda: StartLimit(1))
    launch: Launch = start_program
    environment: Mapping[str, str] = field(default_factory=os.environ.copy)


class WorkerSupervisor:
    """Keeps the worker of *placement* running."""

    def __init__(
        self,
        placement: pb.Placement,
        command: Command,
        cluster: ClusterPort,
        starts: Starts | None = None,
        *,
        stop_s: float = WORKER_DRAIN_S,
        silence_s: float = WORKER_SILENCE_S,
        pause: "Pause | None" = None,
    ) -> None:
        self.placement = placement
        self._command = command
        self._cluster = cluster
        self._starts = starts or Starts()
        self._stop_s = stop_s
        self._silence_s = silence_s
        self._was_silent = False
        self._pipe: HeartbeatPipe | None = None
        self._said = ""
        self._unready = 0
        self._pause = pause or Pause()
        self._record = pb.Worker(
            id=worker_id(placement),
            model=placement.model,
            version=placement.version,
            stage=placement.stage,
            node=placement.node,
            device=placement.device,
            fingerprint=placement.fingerprint,
            revision_id=placement.revision_id,
            software=penstock.__version__,
        )

    def __repr__(self) -> str:
        record = self._record
        return f"WorkerSupervisor({record.id}, pid {record.pid}, {record.restarts} restarts)"

    @property
    def pid(self) -> int:
        """The process; 0 while there is none."""
        return self._record.pid

    def lives(self, now_s: float) -> bool:
        """Whether the worker has given a sign of life lately, on the clock of the event loop."""
        return self._pipe is not None and self._pipe.lives(now_s)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep it running until *stop*, and then end it in order."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            restart = self._record.restarts > 0
            permit = await _unless(stop, self._starts.limit.acquire(restart=restart))
            if permit is None:
                return
            started = loop.time()
            try:
                status = await self._live(permit, stop)
            finally:
                permit.release()
            if status is None or stop.is_set():
                return
            pause_s = self._pause.after(status, loop.time() - started)
            await self._on_exit(status)
            await self._announce_while_down(pause_s, stop)
            self._record.restarts += 1

    async def _live(self, permit: StartPermit, stop: asyncio.Event) -> int | None:
        """One life of the process, from its start to its exit status; None if there was none."""
        self._record.boot_id = uuid.uuid4().hex[:16]
        self._record.state, self._record.reason = pb.WORKER_STATE_LOADING, ""
        self._was_silent = False
        with heartbeat_pipe() as pipe:
            self._pipe = pipe
            words = self._command(self._record, self.placement)
            starting = self._starts.launch(
                words, self._starts.environment, {VARIABLE: pipe.write_end}
            )
            process = await _unless(stop, starting)
            if process is None:
                return None
            self._record.pid = process.pid
            helpers = [
                asyncio.create_task(pipe.until_silent(self._silence_s)),
                asyncio.create_task(_release_when_started(permit, pipe)),
            ]
            try:
                return await self._until_ended(process, helpers[0], stop)
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)

    async def _until_ended(
        self, process: Process, silent: "asyncio.Task[None]", stop: asyncio.Event
    ) -> int:
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(stop.wait())
        try:
            await self._announce()
            await asyncio.wait({ended, stopping, silent}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                await _end(process, ended, self._stop_s)
            elif not ended.done():
                self._was_silent = True
                _kill(process)
            return await ended
        finally:
            stopping.cancel()
            if process.returncode is None:
                _kill(process)
                await process.wait()

    async def _on_exit(self, status: int) -> None:
        """Give the dead process's jobs to others, and say why it ended."""
        record = self._record
        await _tried(self._cluster.release_leases_of(record.model, record.boot_id))
        recorded = await _tried(self._cluster.recorded(record.id))
        if status == CANNOT_LOAD:
            record.state = pb.WORKER_STATE_FAILED
            record.reason = (recorded and recorded.reason) or reason_of(status)
            record.load_error = record.reason
        else:
            record.state = pb.WORKER_STATE_RESTARTING
            record.reason = SILENT if self._was_silent else reason_of(status)
            self._judge(status, recorded)
        record.pid = 0
        self._say(record.reason, again=status == CANNOT_LOAD)

    def _say(self, reason: str, *, again: bool) -> None:
        """What cannot be loaded for the reason that was said already is no news."""
        if again and reason == self._said:
            log.info("a worker still cannot load its shard", worker=self._record.id)
            return
        self._said = reason
        log.warning("worker ended", worker=self._record.id, reason=reason)

    def _judge(self, status: int, recorded: pb.Worker | None) -> None:
        """Whether a worker that ended with *status* can be counted on to come back."""
        record = self._record
        this_life = recorded is not None and recorded.boot_id == record.boot_id
        was_ready = recorded is not None and this_life and recorded.state in _WAS_READY
        if was_ready or status in (DRAINED, BROKEN):
            self._unready, record.load_error = 0, ""
        elif this_life:
            self._unready += 1
            if self._unready >= MOST_UNREADY:
                record.load_error = record.reason

    async def _announce_while_down(self, seconds: float, stop: asyncio.Event) -> None:
        """Announce the record in the worker's place for so long, or until *stop*."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not stop.is_set() and (left_s := until - loop.time()) > 0:
            await self._announce()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(left_s, _ANNOUNCE_EVERY_S))

    async def _announce(self) -> None:
        await _tried(self._cluster.announce(self._record))


class Pause:
    """How long to wait before the next start: longer while the worker keeps failing."""

    CRASH_MAX_S, LOAD_MAX_S = 10.0, 300.0

    def __init__(self, crash_s: float = 0.1, load_s: float = 5.0) -> None:
        """The first pauses, after a crash and after a load that failed."""
        self._first_s = self._crash_s, self._load_s = crash_s, load_s

    def after(self, status: int, lived_s: float) -> float:
        """The pause after a life of *lived_s* seconds that ended with *status*."""
        if status == CANNOT_LOAD:
            # Other files are another placement, which begins at once. What else it lacks may come,
            # a package or a locale; until then each try costs a load.
            pause_s, self._load_s = self._load_s, min(2 * self._load_s, self.LOAD_MAX_S)
            return pause_s
        if lived_s > STEADY_S:
            self._crash_s, self._load_s = self._first_s
        pause_s, self._crash_s = self._crash_s, min(2 * self._crash_s, self.CRASH_MAX_S)
        return pause_s


async def _end(process: Process, ended: "asyncio.Task[int]", patience_s: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    done, _ = await asyncio.wait({ended}, timeout=patience_s)
    if not done:
        log.warning("worker does not stop, killing it", pid=process.pid)
        _kill(process)


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


async def _release_when_started(permit: StartPermit, pipe: HeartbeatPipe) -> None:
    """Let others start once this worker has, or takes too long."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(pipe.until_started(), MOST_START_S)
    permit.release()


async def _unless(stop: asyncio.Event, wanted: Awaitable[T]) -> T | None:
    """What *wanted* comes to; None, and it is cancelled, if *stop* is set before."""
    waited = asyncio.ensure_future(wanted)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({waited, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return waited.result() if waited.done() else None
    finally:
        for task in (waited, stopping):
            task.cancel()
        await asyncio.gather(waited, stopping, return_exceptions=True)


async def _tried(call: Awaitable[T]) -> T | None:
    """The answer of *call*; None while Redis is away: what was said is said again."""
    try:
        return await call
    except PenstockError as error:
        log.debug("Redis is away", error=str(error))
        return None
