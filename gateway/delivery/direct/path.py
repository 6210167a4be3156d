"""Direct path: small jobs straight to workers on this machine that sleep.

What a worker does at once need not be in a queue for it. So small requests, for shards that are
done with them in a millisecond, are handed over directly while a worker has room (batches.py,
worker_connections.py); whatever a worker leaves goes into the queue as ever (ADR 0019).
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final

import structlog

from penstock.clock import Clock, monotonic
from penstock.gateway.delivery.direct.batches import DirectBatches
from penstock.gateway.delivery.direct.busyness import Busyness
from penstock.gateway.delivery.direct.worker_connections import DirectJob, WorkerConnection
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.enqueue_batches import BatchKey, Entry
from penstock.scheduler.jobs.payloads import LARGE_BYTES
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.registry.snapshot import Snapshot, stage_of
from penstock.scheduler.requests.job_sink import OnOutcome
from penstock.transport.arena import memory_domain
from penstock.transport.lane import call

log = structlog.get_logger()

_TEND_EVERY_S: Final = 0.25
_REST_S: Final = 1.0
_CALL_AGAIN_S: Final = 1.0


class DirectPath:
    """Of one gateway process.

    Attributes:
        batches: of the stages that have workers on this machine.
        connections: boot id of a worker -> the connection with it.
    """

    def __init__(
        self,
        queue: Queue,
        gateway: str,
        *,
        enabled: bool = True,
        domain: str | None = None,
        clock: Clock = monotonic,
    ) -> None:
        """*gateway*: its boot id. *domain*: None for this process's; *enabled*: whether at all."""
        self._queue = queue
        self._gateway = gateway
        self._domain = (memory_domain() if domain is None else domain) if enabled else ""
        self._clock = clock
        self._wanted: dict[str, tuple[StageRef, str]] = {}
        self.batches: dict[StageRef, DirectBatches] = {}
        self._busyness = Busyness()
        self._called_s: dict[str, float] = {}
        self._changed = asyncio.Event()
        self.connections: dict[str, WorkerConnection] = {}

    def __repr__(self) -> str:
        return f"DirectPath({len(self.connections)} workers)"

    def add(self, job: NewJob, limits: QueueLimits, on_outcome: OnOutcome, in_flight: int) -> bool:
        """Hand over *job*, of a stage in `batches`, or queue it later; False if it has another way.

        Nobody hears of a job that was handed over, but of its end.

        Args:
            in_flight: jobs of its stage that the gateway waits for, this one included.
        """
        if not _may_be_direct(job):
            return False
        return self.batches[job.ref].add(DirectJob(job, limits, on_outcome), in_flight)

    def state(self, job: str) -> str | None:
        """As `Queue.state`, of a job that is not in the queue."""
        if any(job in batches for batches in self.batches.values()):
            return "waiting"
        if any(job in connection for connection in self.connections.values()):
            return "leased"
        return None

    def cancel(self, job: str) -> bool:
        """Nobody waits for *job* any more; False if it is not here.

        A worker that has the job is not told: it will be done with it.
        """
        if any(batches.remove(job) for batches in self.batches.values()):
            return True
        return any(connection.forget(job) for connection in self.connections.values())

    async def all_counted(self) -> None:
        """Wait until all that the workers have ended by now is in the statistics."""
        await asyncio.gather(*(connection.noted() for connection in self.connections.values()))

    # connections

    def update(self, snapshot: Snapshot) -> None:
        """Find out which workers are beside this gateway."""
        if not self._domain:
            return
        wanted = {
            worker.boot_id: (stage_of(worker), worker.lane)
            for worker in snapshot.live_workers()
            if worker.state == pb.WORKER_STATE_READY
            and worker.lane
            and worker.memory_domain == self._domain
        }
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    async def run(self) -> None:
        """Keep a connection with each worker beside this gateway, until cancelled."""
        try:
            while True:
                self._changed.clear()
                await self._tend()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_REST_S if self._rests() else _TEND_EVERY_S):
                        await self._changed.wait()
        finally:
            for connection in list(self.connections.values()):
                connection.close()

    def _rests(self) -> bool:
        """Whether no worker has a job of this gateway, or should have a connection."""
        idle = all(batches.are_empty for batches in self.batches.values())
        connected = self._wanted.keys() <= self.connections.keys()
        return idle and connected and all(one.is_idle for one in self.connections.values())

    async def _tend(self) -> None:
        for boot_id, connection in list(self.connections.items()):
            if connection.is_silent:
                log.warning("a worker is silent, its jobs are queued", worker=repr(connection))
                connection.close()
            if connection.lost:
                del self.connections[boot_id]
        now_s = self._clock()
        for boot_id, (ref, name) in list(self._wanted.items()):
            called_s = self._called_s.get(boot_id)
            if boot_id in self.connections or (called_s and now_s - called_s < _CALL_AGAIN_S):
                continue
            self._called_s[boot_id] = now_s
            if (opened := await self._opened(ref, boot_id, name)) is not None:
                self.connections[boot_id] = opened
        self._called_s = {id_: at_s for id_, at_s in self._called_s.items() if id_ in self._wanted}
        self._share_out()

    def _share_out(self) -> None:
        """Give each stage its workers' connections; jobs of stages that have none are queued."""
        connections: dict[StageRef, list[WorkerConnection]] = {ref: [] for ref in self.batches}
        for boot_id, (ref, _) in self._wanted.items():
            if boot_id in self.connections:
                connections.setdefault(ref, []).append(self.connections[boot_id])
        for ref, own in connections.items():
            batches = self.batches.setdefault(ref, DirectBatches(self._put, self._busyness))
            batches.connections = own
            batches.hand_out()
            if not own:
                del self.batches[ref]

    async def _opened(self, ref: StageRef, boot_id: str, name: str) -> WorkerConnection | None:
        def free() -> None:
            if (batches := self.batches.get(ref)) is not None:
                batches.hand_out()

        def broken(jobs: list[DirectJob]) -> None:
            self._put(jobs, crashed=boot_id)

        connection = WorkerConnection(self._gateway, self._put, broken, free, self._clock)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: connection, sock=call(name))
        except OSError as error:
            log.debug("no connection with a worker", name=name, why=str(error))
            return None
        return connection

    def _put(self, jobs: Iterable[DirectJob], *, crashed: str = "") -> None:
        """Queue jobs after all; *crashed*: boot id of the worker that died while it had them."""
        entries: dict[BatchKey, list[Entry]] = {}
        for job, limits, on_outcome, _ in jobs:
            key = BatchKey(job.ref, job.gateway, limits, job.ensemble, crashed)
            entries.setdefault(key, []).append((job, on_outcome))
        for key, together in entries.items():
            self._queue.put(key, together)


def _may_be_direct(job: NewJob) -> bool:
    """Whether all that is asked of *job* is to be done at once."""
    small = job.lent_bytes or len(job.payload) < LARGE_BYTES
    plain = not job.later and not job.ensemble and not job.in_parts
    return bool(small) and plain and not job.begin_within_ms
