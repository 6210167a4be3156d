"""Job router: where a gateway's own jobs go: into the queue, or straight to a sleeping worker.

Large payloads are lent on both ways, and the requests of a sequence keep their order.
"""

import asyncio
from collections.abc import Iterable

from penstock.errors import Code
from penstock.gateway.delivery.direct.path import DirectPath
from penstock.gateway.delivery.lending import Lender
from penstock.gateway.delivery.sequence_order import SequenceOrder
from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.payloads import LARGE_BYTES
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.registry.snapshot import VersionId
from penstock.scheduler.requests.job_sink import JobSink, OnOutcome, Retry


class JobRouter(JobSink):
    """Of one gateway process."""

    def __init__(
        self, queue: Queue, direct: DirectPath | None = None, lender: Lender | None = None
    ) -> None:
        """*direct* and *lender*: None where nothing is handed over, or lent."""
        self._queue = queue
        self._direct = direct or DirectPath(queue, "", enabled=False)
        self._lender = lender or Lender(0)
        self._sequences = SequenceOrder(queue)

    def submit(
        self, job: NewJob, limits: QueueLimits, on_outcome: OnOutcome, in_flight: int = 2
    ) -> None:
        """As `JobSink.submit`; nobody hears that a job was handed over, but of its end."""
        if job.turn is not None:
            self._sequences.submit(job, limits, on_outcome)
            return
        if len(job.payload) >= LARGE_BYTES:
            job = self._lender.lend(job)
        near = job.ref in self._direct.batches
        if not near or not self._direct.add(job, limits, on_outcome, in_flight):
            self._queue.submit(job, limits, on_outcome, in_flight)

    async def state(self, model: str, job: str, *later: str) -> str | None:
        """As `Queue.state`."""
        return self._direct.state(job) or await self._queue.state(model, job, *later)

    async def cancel(self, model: str, job: str, *later: str) -> None:
        """As `Queue.cancel`."""
        if not self._direct.cancel(job):
            await self._queue.cancel(model, job, *later)

    def release(self, job: NewJob) -> None:
        """As `JobSink.release`."""
        if len(job.payload) >= LARGE_BYTES:
            self._lender.take_back(job.id)
        if job.turn is not None:
            self._sequences.leave(job)

    def retry_after(self, job: NewJob, code: Code) -> Retry | None:
        """A worker that cannot read what it was lent is sent the payload."""
        if code is not Code.DATA_LOSS or not self._lender.has_lent(job.id):
            return None
        self._lender.avoid(job.ref)
        return Retry.NEW_JOB

    async def statistics(self, wanted: Iterable[tuple[VersionId, bool]]) -> list[dict[str, int]]:
        """The counters of versions, given with whether they are ensembles.

        They count whatever the workers beside this gateway have ended by now.
        """
        await self._direct.all_counted()
        return await asyncio.gather(
            *(statistics_of(self._queue, *id_, ensemble=ensemble) for id_, ensemble in wanted)
        )
