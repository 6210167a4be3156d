"""Shared replies: the requests of this gateway that have part in one job's reply.

scheduler/jobs/shared_replies.py is their other half. A `SharedJob` is the `JobSink` of a request:
what is submitted there joins a shared reply, and enqueues a job only where it leads. So deadlines,
cancellation, and asking again after Redis was away are those of every request.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.clock import Deadline, bounded_ms
from penstock.errors import Code, StoreUnavailable, Unimplemented
from penstock.gateway.models.catalog import Catalog, Served
from penstock.gateway.replies.content_digest import content_digest, keyed_digest
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.protos import wire
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.scheduler.jobs.enqueue_batches import Answered
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.shared_replies import (
    Follow,
    Joined,
    Lead,
    Shared,
    SharedReplies,
    Spent,
    Waiter,
    answer_named,
    cached,
    keyed,
)
from penstock.scheduler.jobs.types import NewJob, Reply
from penstock.scheduler.requests.job_sink import JobSink, OnOutcome, Retry
from penstock.scheduler.store.keys import partition_of

UNUSED_MS: Final = 3_600_000
"""A cached reply that nobody asks for goes after this time."""

_ID_FIELD: Final = 3
"""Of a request, and of a reply."""

NO_ID: Final = wire.bytes_field(_ID_FIELD, 0)
"""Behind a serialized request: it has no id. Of a field that comes twice the last one counts."""


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """How long replies to idempotency keys are kept, and how many bytes of them on the cluster.

    Attributes:
        resume_s: how long an answer of a language model that may be resumed goes on while nobody
            listens, and how long it is kept after its end; as many bytes of them as of the others.
    """

    keep_s: float
    most_bytes: int
    resume_s: float = 60.0


class Sharing(SharedReplies):
    """What is shared, and on which terms."""

    def __init__(
        self, queue: Queue, next_id: Callable[[], str], catalog: Catalog, terms: KeyTerms
    ) -> None:
        """*next_id*: gives job ids."""
        super().__init__(queue)
        self._next_id = next_id
        self._catalog = catalog
        self._terms = terms
        self._spent: dict[StageRef, Spent] = {}

    def of(
        self,
        served: Served,
        request: ModelInferRequest,
        raws: Sequence[wire.Buffer] | None,
        key: str | None,
        caller: str = "",
    ) -> Shared | None:
        """The reply that *request* shares: by its *key*, or else by its content if it is cached.

        None while the cluster has no cache, and no key was given.

        Args:
            request: with raw contents only.
            raws: its raw contents; None when they are in it.
            key: its idempotency key.
            caller: whose it is; empty for anybody's. Callers share nothing with each other.

        Raises:
            Unimplemented: it has a key, and is one of a sequence, or for an ensemble that no script
                sees as a whole.
        """
        if key is not None:
            self._check_keyed(served)
            content = content_digest(request, raws)
            digest = keyed_digest(content, request.model_version)
            keep_ms = bounded_ms(self._terms.keep_s)
            return keyed(served.id.model, key, digest, keep_ms, self._most_bytes, caller)
        if not self._catalog.response_cache_bytes:
            return None
        partitions = {partition_of(name, self._queue.partitions) for name in self._catalog.caching}
        most_bytes = share_of(self._catalog.response_cache_bytes, partitions)
        return cached(served.ref, content_digest(request, raws), UNUSED_MS, most_bytes, caller)

    @property
    def _most_bytes(self) -> int:
        """Of replies to keys, in one partition."""
        return max(1, self._terms.most_bytes // self._queue.partitions)

    def answer_named(
        self, model: str, name: str, caller: str, *, background: bool = False
    ) -> Shared:
        """The answer of *model* that *caller* has given this name; it may be resumed.

        Args:
            background: it goes on while nobody listens, and is kept as replies to keys are.
        """
        keep_ms, away_ms = bounded_ms(self._terms.resume_s), bounded_ms(self._terms.resume_s)
        if background:
            keep_ms, away_ms = bounded_ms(self._terms.keep_s), 0
        # Its request is beside it, and says what it is the answer to.
        return answer_named(model, name, "", keep_ms, self._most_bytes, away_ms, caller)

    async def keep_request(
        self, model: str, shared: Shared, request: bytes, ttl_ms: int
    ) -> bytes | None:
        """As `SharedReplies.keep_request`, for as long as a job may live that has *ttl_ms*."""
        return await super().keep_request(model, shared, request, ttl_ms + shared.keep_ms)

    def _check_keyed(self, served: Served) -> None:
        if served.sequences is not None:
            raise Unimplemented(
                f"idempotency keys are not offered for '{served.id.model}': its requests are parts "
                "of sequences, and each depends on those before"
            )
        refs = () if served.route is None else served.route.refs
        if len({partition_of(ref.model, self._queue.partitions) for ref in refs}) > 1:
            raise Unimplemented(
                f"idempotency keys are not offered for ensemble '{served.id.model}': on a Redis "
                "Cluster the models that it is made of may be on different servers"
            )

    def opened(self, job: NewJob, shared: Shared) -> tuple[NewJob, "SharedJob"]:
        """*job* without the request's id, and its part in *shared*."""
        job = job.followed_by(NO_ID)
        return job, SharedJob(self, shared, job)

    def look_up(
        self, shared: Shared, job: NewJob, waiter: Waiter, on_reply: Callable[[Joined], None]
    ) -> None:
        """Join *shared*, and note how long that took."""
        began_ns = time.perf_counter_ns()

        def joined(outcome: Joined) -> None:
            took_ns = time.perf_counter_ns() - began_ns
            hits_ns, misses_ns = self._spent.get(job.ref, Spent())
            if isinstance(outcome, Reply):
                self._spent[job.ref] = Spent(hits_ns + took_ns, misses_ns)
            elif isinstance(outcome, Lead):
                self._spent[job.ref] = Spent(hits_ns, misses_ns + took_ns)
            on_reply(outcome)

        # The durations of look-ups travel with the next one: a command of their own would be dear.
        spent = self._spent.pop(job.ref, Spent())
        self.join(job.ref, shared, waiter, self._next_id(), joined, spent)

    def lead(self, job: NewJob, limits: QueueLimits, answered: Answered) -> None:
        """Enqueue the job of a shared reply; it leaves at once, since it travels alone."""
        self._queue.submit(job, limits, answered, in_flight=1)

    async def cancel(self, model: str, job: str, *later: str) -> None:
        """Take a job out of the queue; as `Queue.cancel`."""
        await self._queue.cancel(model, job, *later)


class SharedJob(JobSink):
    """One request's part in a shared reply, in the queue's place."""

    def __init__(self, sharing: Sharing, shared: Shared, job: NewJob) -> None:
        """*job*: the request; its id is the waiter's."""
        self._sharing = sharing
        self._shared = shared
        self._job = job
        self._deadline = Deadline.after(job.ttl_ms / 1000)
        self._limits = QueueLimits()
        self._on_outcome: OnOutcome = _ignored
        self._waits = False

    def submit(
        self, job: NewJob, limits: QueueLimits, on_outcome: OnOutcome, in_flight: int = 2
    ) -> None:
        """Join; enqueue the job where that is asked for."""
        del in_flight
        self._job = job = job._replace(id=self._job.id)
        self._limits, self._on_outcome = limits, on_outcome
        self._join(on_outcome)

    async def state(self, model: str, job: str, *later: str) -> str | None:
        """Join again, which changes nothing unless somebody must lead; "waiting" then."""
        del model, job, later
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_outcome(outcome: Reply | str | Exception | None) -> None:
            self._on_outcome(outcome)
            if not answer.done():
                answer.set_result(None)

        self._join(on_outcome)
        await answer
        return "waiting"

    async def cancel(self, model: str, job: str, *later: str) -> None:
        """Wait no more; a job that nobody waits for any more is cancelled."""
        unwanted = await self._sharing.leave(self._job.ref, self._shared, job)
        if unwanted:
            await self._sharing.cancel(model, unwanted.decode(), *later)

    def release(self, job: NewJob) -> None:
        """As `JobSink.release`."""
        del job
        # It knows the request, which knows this: they would keep each other, and the payload.
        self._on_outcome = _ignored

    def retry_after(self, job: NewJob, code: Code) -> Retry | None:
        """Somebody else's failure is nobody's reply: who has waited for it joins again."""
        del job
        if code is not Code.ABORTED:
            return None
        self._waits = False
        return Retry.SAME_JOB

    def _follow(self, tokens: bytes, at: int) -> None:
        """Take those of the reply's log that follow the first *at*; an answer alone has one."""

    def _has(self) -> int:
        """How much of the reply's log is here."""
        return 0

    def _join(self, on_outcome: OnOutcome) -> None:
        has = self._has()

        def joined(outcome: Joined) -> None:
            self._waits |= outcome is None or isinstance(outcome, Lead)
            if isinstance(outcome, Follow):
                self._follow(outcome.tokens, has)
                on_outcome(None)
            elif isinstance(outcome, Lead):
                self._lead(outcome, on_outcome)
            else:
                on_outcome(outcome)

        self._sharing.look_up(self._shared, self._job, self._waiter(has), joined)

    def _waiter(self, has: int) -> Waiter:
        return Waiter(self._job.id, self._job.gateway, self._ttl_ms(), self._waits, has)

    def _lead(self, lead: Lead, on_outcome: OnOutcome) -> None:
        def answered(outcome: str | Exception | None) -> None:
            if isinstance(outcome, Exception) and not isinstance(outcome, StoreUnavailable):
                # Somebody else may have more luck.
                self._sharing.leave(self._job.ref, self._shared, self._job.id)
            on_outcome(outcome)

        job = self._job._replace(id=lead.job, gateway=self._shared.owner, ttl_ms=self._ttl_ms())
        self._sharing.lead(job, self._limits, answered)

    def _ttl_ms(self) -> int:
        return bounded_ms(self._deadline.remaining_s())


def share_of(cluster_bytes: int, partitions: set[int]) -> int:
    """What one of the *partitions* that hold models with a cache may use of the cluster's bytes.

    No script sees two partitions, so each has its own limit; together they are the cluster's.
    """
    return cluster_bytes // max(1, len(partitions))


def with_id(reply: bytes, request_id: str) -> bytes:
    """A serialized ModelInferResponse that has no id, with this one."""
    encoded = request_id.encode()
    return reply + wire.bytes_field(_ID_FIELD, len(encoded)) + encoded if encoded else reply


def _ignored(_: Reply | str | Exception | None) -> None:
    pass
