"""Dispatch: into the queue, or straight to a worker on this machine that sleeps.

What a worker does at once need not be in a queue for it. So small requests, for shards that are
done with them in a millisecond, are handed over directly while a worker has room (`lots`, `lanes`);
all others, and whatever a worker leaves, go into the queue as ever (ADR 0019).
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from penstock.clock import Clock, monotonic
from penstock.gateway.delivery.direct.batches import Lots
from penstock.gateway.delivery.direct.busyness import Busyness
from penstock.gateway.delivery.direct.worker_connections import Direct, Lane
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.enqueue_batches import Answered, Entry, Line
from penstock.scheduler.jobs.payloads import LARGE_BYTES
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import NewJob, Reply
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.registry.snapshot import Snapshot, VersionId, stage_of
from penstock.transport.arena import memory_domain
from penstock.transport.lane import call

log = structlog.get_logger()

_TEND_EVERY_S: Final = 0.25
_CALL_AGAIN_S: Final = 1.0


class Dispatch:
    """Where this gateway's requests go: a `Door`.

    Attributes:
        lanes: boot id of a worker -> the lane to it.
        deliver: gets what became of jobs that were handed over.
    """

    def __init__(
        self,
        queue: Queue,
        gateway: str,
        *,
        direct: bool = True,
        domain: str | None = None,
        clock: Clock = monotonic,
    ) -> None:
        """*gateway*: its boot id. *domain*: None for this process's; *direct*: whether at all."""
        self._queue = queue
        self._gateway = gateway
        self._domain = (memory_domain() if domain is None else domain) if direct else ""
        self._clock = clock
        self._wanted: dict[str, tuple[StageRef, str]] = {}
        self._lots: dict[StageRef, Lots] = {}
        self._busyness = Busyness()
        self._called_s: dict[str, float] = {}
        self._changed = asyncio.Event()
        self.lanes: dict[str, Lane] = {}
        self.deliver: Callable[[Reply], None] = _unheard

    def __repr__(self) -> str:
        return f"Dispatch({len(self.lanes)} lanes)"

    # a door

    def submit(self, job: NewJob, limits: QueueLimits, answered: Answered, crowd: int = 2) -> None:
        """As `Queue.submit`; nobody is told of a job that was handed over."""
        lots = self._lots.get(job.ref) if _may_be_direct(job) else None
        if lots is None or not lots.add(Direct(job, limits, answered), crowd):
            self._queue.submit(job, limits, answered, crowd)

    async def state(self, model: str, job: str, *later: str) -> str | None:
        """As `Queue.state`."""
        if any(job in lots for lots in self._lots.values()):
            return "waiting"
        if any(job in lane for lane in self.lanes.values()):
            return "leased"
        return await self._queue.state(model, job, *later)

    async def cancel(self, model: str, job: str, *later: str) -> None:
        """As `Queue.cancel`; a worker that has the job is not told: it will be done with it."""
        if any(lots.remove(job) for lots in self._lots.values()):
            return
        if not any(lane.forget(job) for lane in self.lanes.values()):
            await self._queue.cancel(model, job, *later)

    async def statistics(self, wanted: Iterable[tuple[VersionId, bool]]) -> list[dict[str, int]]:
        """The counters of versions, given with whether they are ensembles.

        They count whatever the workers beside this gateway have ended by now.
        """
        await asyncio.gather(*(lane.noted() for lane in self.lanes.values()))
        return await asyncio.gather(
            *(statistics_of(self._queue, *id_, ensemble=ensemble) for id_, ensemble in wanted)
        )

    # lanes

    def update(self, snapshot: Snapshot) -> None:
        """Find out which workers are beside this gateway."""
        if not self._domain:
            return
        self._wanted = {
            worker.boot_id: (stage_of(worker), worker.lane)
            for worker in snapshot.live_workers()
            if worker.state == pb.WORKER_STATE_READY
            and worker.lane
            and worker.memory_domain == self._domain
        }
        self._changed.set()

    async def run(self) -> None:
        """Keep a lane to each worker beside this gateway, until cancelled."""
        try:
            while True:
                await self._tend()
                try:
                    async with asyncio.timeout(_TEND_EVERY_S):
                        await self._changed.wait()
                except TimeoutError:
                    continue
                self._changed.clear()
        finally:
            for lane in list(self.lanes.values()):
                lane.close()

    async def _tend(self) -> None:
        for boot_id, lane in list(self.lanes.items()):
            if lane.is_silent:
                log.warning("a worker is silent, its jobs are queued", lane=repr(lane))
                lane.close()
            if lane.lost:
                del self.lanes[boot_id]
        now_s = self._clock()
        for boot_id, (ref, name) in list(self._wanted.items()):
            called_s = self._called_s.get(boot_id)
            if boot_id in self.lanes or (called_s and now_s - called_s < _CALL_AGAIN_S):
                continue
            self._called_s[boot_id] = now_s
            if (opened := await self._opened(ref, boot_id, name)) is not None:
                self.lanes[boot_id] = opened
        self._called_s = {id_: at_s for id_, at_s in self._called_s.items() if id_ in self._wanted}
        self._share_out()

    def _share_out(self) -> None:
        """Give each stage the lanes to its workers; jobs of stages that have none are queued."""
        lanes: dict[StageRef, list[Lane]] = {ref: [] for ref in self._lots}
        for boot_id, (ref, _) in self._wanted.items():
            if boot_id in self.lanes:
                lanes.setdefault(ref, []).append(self.lanes[boot_id])
        for ref, own in lanes.items():
            lots = self._lots.setdefault(ref, Lots(self._put, self._busyness))
            lots.lanes = own
            lots.hand_out()
            if not own:
                del self._lots[ref]

    async def _opened(self, ref: StageRef, boot_id: str, name: str) -> Lane | None:
        def free() -> None:
            if (lots := self._lots.get(ref)) is not None:
                lots.hand_out()

        def broken(jobs: list[Direct]) -> None:
            self._put(jobs, crashed=boot_id)

        lane = Lane(self._gateway, self._hear, self._put, broken, free, self._clock)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: lane, sock=call(name))
        except OSError as error:
            log.debug("no lane to a worker", name=name, why=str(error))
            return None
        return lane

    def _hear(self, reply: Reply) -> None:
        self.deliver(reply)

    def _put(self, jobs: Iterable[Direct], *, crashed: str = "") -> None:
        """Queue jobs after all; *crashed*: boot id of the worker that died while it had them."""
        lots: dict[Line, list[Entry]] = {}
        for job, limits, answered, _ in jobs:
            line = Line(job.ref, job.gateway, limits, job.ensemble, crashed)
            lots.setdefault(line, []).append((job, answered))
        for line, entries in lots.items():
            self._queue.put(line, entries)


def _may_be_direct(job: NewJob) -> bool:
    """Whether all that is asked of *job* is to be done at once."""
    small = job.lent_bytes or len(job.payload) < LARGE_BYTES
    plain = not job.later and not job.ensemble
    return bool(small) and plain and not job.begin_within_ms


def _unheard(reply: Reply) -> None:
    raise AssertionError(f"nobody waits for {reply.job}")
