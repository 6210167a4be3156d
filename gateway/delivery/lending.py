"""Lending: large payloads stay in this process's memory where all who may want them can read it.

That is so where each worker of a stage is a neighbour (`penstock.transport.arena`); then neither
the store nor a socket has to carry them. Whether it is so is known a moment late: a worker that
cannot read a payload gives its job back with DATA_LOSS, and the request is queued again, payload
and all.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from penstock.clock import Clock, monotonic
from penstock.models.refs import StageRef
from penstock.process.heap import KEPT_BYTES
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.registry.snapshot import Snapshot, stage_of
from penstock.transport.arena import Arena, Loan, memory_domain

log = structlog.get_logger()

_TRIM_EVERY_S: Final = 0.25

AVOIDED_S: Final = 60.0
"""How long nothing is lent to a stage after one of its workers could not read something."""


class Lender:
    """Decides what is lent, and keeps it."""

    def __init__(
        self, most_bytes: int, *, domain: str | None = None, clock: Clock = monotonic
    ) -> None:
        """*most_bytes* may be lent at one time; 0 for none. *domain*: None for this process's."""
        self._most_bytes = most_bytes
        self._domain = memory_domain() if domain is None else domain
        self._clock = clock
        self._arena: Arena | None = None
        self._near: frozenset[StageRef] = frozenset()
        self._avoided: dict[StageRef, float] = {}
        self._loans: dict[str, Loan] = {}
        self._lends = asyncio.Event()

    def __repr__(self) -> str:
        return f"Lender({self._arena}, {len(self._near)} stages near)"

    @property
    def lent_bytes(self) -> int:
        """Of memory that hold what is lent now."""
        return 0 if self._arena is None else self._arena.lent_bytes

    def update(self, snapshot: Snapshot) -> None:
        """Find out whose workers are all neighbours."""
        if not self._most_bytes or not self._domain:
            return
        now_s = self._clock()
        self._avoided = {ref: until for ref, until in self._avoided.items() if until > now_s}
        near = _served_within(self._domain, snapshot.live_workers())
        self._near = near - self._avoided.keys()

    def lend(self, job: NewJob) -> NewJob:
        """*job* with a handle for its payload, a large one, which stays here until `take_back`.

        As it is where the payload has to go through the store.
        """
        if job.ref not in self._near:
            return job
        # The state of a sequence is put behind the payload of its next request, in the store.
        if job.turn is not None:
            return job
        loan = self._loans.get(job.id) or self._lent(job.payload)
        if loan is None:
            return job
        self._loans[job.id] = loan
        return job._replace(payload=loan.handle, lent_bytes=len(job.payload))

    def _lent(self, payload: bytes | memoryview) -> Loan | None:
        if self._arena is None:
            try:
                self._arena = Arena(self._most_bytes)
            except OSError as error:
                log.warning(
                    "there is no shared memory for payloads, they go through Redis", error=error
                )
                self._most_bytes, self._near = 0, frozenset()
                return None
        self._lends.set()
        return self._arena.lend(payload)

    def has_lent(self, job: str) -> bool:
        """Whether the job's payload stays here."""
        return job in self._loans

    def take_back(self, job: str) -> None:
        """Nobody waits for the job any more; its payload may never have been lent."""
        loan = self._loans.pop(job, None)
        if loan is not None and self._arena is not None:
            self._arena.take_back(loan)

    def avoid(self, ref: StageRef) -> None:
        """One of the stage's workers could not read what was lent to it."""
        if ref not in self._avoided:
            log.warning(
                "a worker cannot read lent payloads, they go through Redis", stage=ref.queue
            )
        self._near -= {ref}
        self._avoided[ref] = self._clock() + AVOIDED_S

    async def run(self) -> None:
        """Give memory back that is no longer wanted, until cancelled."""
        while True:
            await self._lends.wait()
            self._lends.clear()
            while self._arena is not None:
                await asyncio.sleep(_TRIM_EVERY_S)
                if self._arena is None or self._arena.trim(KEPT_BYTES):
                    break

    def close(self) -> None:
        """Give all of it up."""
        arena, self._arena, self._near = self._arena, None, frozenset()
        if arena is not None:
            arena.close()


def _served_within(domain: str, workers: Iterable[pb.Worker]) -> frozenset[StageRef]:
    """The stages that have ready workers, all of them in *domain*."""
    near: set[StageRef] = set()
    far: set[StageRef] = set()
    for worker in workers:
        if worker.state == pb.WORKER_STATE_READY:
            (near if worker.memory_domain == domain else far).add(stage_of(worker))
    return frozenset(near - far)
