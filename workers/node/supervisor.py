"""The supervisor of one placed worker: starts it, watches it, and starts it again when it ends.

It starts the process, sees it end, hands its jobs to others at once, and starts it again after a
pause that grows while it keeps failing. While no process runs, it announces the worker instead. A
process that runs and gives no sign of life is killed (`heartbeat_pipe`).
"""

import asyncio
import contextlib
import signal
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeVar

import structlog

import penstock
from penstock.errors import PenstockError
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import worker_id
from penstock.settings import WORKER_SILENCE_S
from penstock.workers.liveness.exits import BROKEN, CANNOT_LOAD, DRAINED, SILENT, reason_of
from penstock.workers.liveness.heartbeat_pipe import heartbeat_pipe, until_silent

log = structlog.get_logger()

T = TypeVar("T")

STOP_S: Final = 15.0
"""How long a worker may take to end what it has begun, before it is killed."""

STEADY_S: Final = 10.0
"""A worker that lived longer than this before it ended is started again without a long pause."""

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


class WorkerSupervisor:
    """Keeps the worker of *placement* running."""

    def __init__(
        self,
        placement: pb.Placement,
        command: Command,
        cluster: ClusterPort,
        *,
        environment: Mapping[str, str] | None = None,
        stop_s: float = STOP_S,
        silence_s: float = WORKER_SILENCE_S,
        pause: "Pause | None" = None,
    ) -> None:
        """*environment* is the worker's; None for this process's."""
        self.placement = placement
        self._command = command
        self._cluster = cluster
        self._environment = environment
        self._stop_s = stop_s
        self._silence_s = silence_s
        self._was_silent = False
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

    async def run(self, stop: asyncio.Event) -> None:
        """Keep it running until *stop*, and then end it in order."""
        while not stop.is_set():
            loop = asyncio.get_running_loop()
            started = loop.time()
            status = await self._live(stop)
            if stop.is_set():
                return
            pause_s = self._pause.after(status, loop.time() - started)
            await self._on_exit(status)
            await self._announce_while_down(pause_s, stop)
            self._record.restarts += 1

    async def _live(self, stop: asyncio.Event) -> int:
        """One life of the process, from its start to its exit status."""
        self._record.boot_id = uuid.uuid4().hex[:16]
        self._record.state, self._record.reason = pb.WORKER_STATE_LOADING, ""
        self._was_silent = False
        with heartbeat_pipe(self._environment) as (read_end, environment, inherited):
            process = await asyncio.create_subprocess_exec(
                *self._command(self._record, self.placement),
                stdin=asyncio.subprocess.DEVNULL,
                # Ctrl-C in the terminal is for the node, which ends its workers in order.
                start_new_session=True,
                env=environment,
                pass_fds=inherited,
            )
            self._record.pid = process.pid
            silent = asyncio.create_task(until_silent(read_end, self._silence_s))
            try:
                return await self._until_ended(process, silent, stop)
            finally:
                silent.cancel()

    async def _until_ended(
        self,
        process: asyncio.subprocess.Process,
        silent: "asyncio.Task[None]",
        stop: asyncio.Event,
    ) -> int:
        await self._announce()
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({ended, stopping, silent}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                await _end(process, ended, self._stop_s)
            elif not ended.done():
                self._was_silent = True
                process.kill()
            return await ended
        finally:
            stopping.cancel()
            if process.returncode is None:
                process.kill()

    async def _on_exit(self, status: int) -> None:
        """Give the dead process's jobs to others, and say why it ended."""
        record = self._record
        await _tried(self._cluster.release_leases_of(record.model, record.boot_id))
        if status == CANNOT_LOAD:
            recorded = await _tried(self._cluster.recorded(self._record.id))
            self._record.state = pb.WORKER_STATE_FAILED
            self._record.reason = (
                recorded.reason if recorded and recorded.reason else reason_of(status)
            )
            self._record.load_error = self._record.reason
        else:
            self._record.state = pb.WORKER_STATE_RESTARTING
            self._record.reason = SILENT if self._was_silent else reason_of(status)
            await self._judge(status)
        self._record.pid = 0
        log.warning("worker ended", worker=self._record.id, reason=self._record.reason)

    async def _judge(self, status: int) -> None:
        """Whether a worker that ended with *status* can be counted on to come back."""
        record = self._record
        recorded = await _tried(self._cluster.recorded(record.id))
        this_life = recorded is not None and recorded.boot_id == record.boot_id
        if status in (DRAINED, BROKEN) or (
            recorded is not None and this_life and recorded.state in _WAS_READY
        ):
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

    CRASH_MAX_S, LOAD_MAX_S = 10.0, 60.0

    def __init__(self, crash_s: float = 0.1, load_s: float = 5.0) -> None:
        """The first pauses, after a crash and after a load that failed."""
        self._first_s = self._crash_s, self._load_s = crash_s, load_s

    def after(self, status: int, lived_s: float) -> float:
        """The pause after a life of *lived_s* seconds that ended with *status*."""
        if status == CANNOT_LOAD:
            # The file may yet be put right; until then each try costs a load.
            pause_s, self._load_s = self._load_s, min(2 * self._load_s, self.LOAD_MAX_S)
            return pause_s
        if lived_s > STEADY_S:
            self._crash_s, self._load_s = self._first_s
        pause_s, self._crash_s = self._crash_s, min(2 * self._crash_s, self.CRASH_MAX_S)
        return pause_s


async def _end(
    process: asyncio.subprocess.Process, ended: "asyncio.Task[int]", patience_s: float
) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    done, _ = await asyncio.wait({ended}, timeout=patience_s)
    if not done:
        log.warning("worker does not stop, killing it", pid=process.pid)
        with contextlib.suppress(ProcessLookupError):
            process.kill()


async def _tried(call: Awaitable[T]) -> T | None:
    """The answer of *call*; None while Redis is away: what was said is said again."""
    try:
        return await call
    except PenstockError as error:
        log.debug("Redis is away", error=str(error))
        return None
