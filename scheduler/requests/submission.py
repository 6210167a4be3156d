"""Submission: a request's job goes into its sink, again where it was lost, until it has an end."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from penstock.clock import Clock
from penstock.errors import JobFailed, StoreUnavailable, TurnLost
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.types import NewJob, Reply
from penstock.scheduler.requests.counters import RESUBMITTED, GatewayCounters
from penstock.scheduler.requests.job_sink import Retry
from penstock.scheduler.requests.waiting import Pending

log = structlog.get_logger()

_ALIVE: Final = frozenset({"waiting", "leased", "delayed", "moving"})
_TURN_LOST: Final = (
    "the answer was lost with the store's memory, and the request cannot run twice: "
    "start the sequence again"
)


class Submission:
    """Of the requests of one gateway process."""

    def __init__(
        self,
        waiting: dict[str, Pending],
        in_flight: Counter[StageRef],
        next_id: Callable[[], str],
        counters: GatewayCounters,
        clock: Clock,
        all_read: Callable[[NewJob, float], bool],
    ) -> None:
        """*waiting*: the requests by their jobs' ids; *in_flight* has their number by stage.

        Args:
            all_read: whether each reply of a job has been read that was there at a time.
        """
        self._waiting = waiting
        self._in_flight = in_flight
        self._next_id = next_id
        self._counters = counters
        self._clock = clock
        self._all_read = all_read

    def submit(self, pending: Pending) -> None:
        """Send its job on its way; whatever is wrong with that is its answer, and nobody else's."""

        def on_outcome(outcome: Reply | str | Exception | None) -> None:
            # While Redis is away the request waits on, and is queued again.
            if isinstance(outcome, StoreUnavailable) or pending.answer.done():
                return
            if isinstance(outcome, Reply):
                self.end(pending, outcome)
            elif isinstance(outcome, Exception):
                pending.answer.set_exception(outcome)

        job = pending.job
        try:
            pending.sink.submit(job, pending.limits, on_outcome, self._in_flight[job.ref])
        except Exception as error:  # noqa: BLE001 - it may be sent again for all
            on_outcome(error)

    def end(self, pending: Pending, reply: Reply) -> None:
        """Give it *reply* for an answer, unless its sink can do better than a failure."""
        if reply.code == 0:
            pending.answer.set_result(reply.body)
            return
        retry = pending.sink.retry_after(pending.job, reply.code)
        if retry is None:
            pending.answer.set_exception(JobFailed(reply.code, reply.message))
        elif retry is Retry.SAME_JOB:
            self.submit(pending)
        else:
            self._rename(pending)
            self._submit_again(pending)

    def put_right(self, pending: Pending, state: str | None) -> bool:
        """Submit it again where its job, now in *state*, was lost; whether it was."""
        if state in _ALIVE:
            pending.ended_s = None
            return False
        if state is not None:
            # Its reply is on its way, however long that is; or it was lost with Redis's memory.
            if pending.ended_s is None:
                pending.ended_s = self._clock()
            if not self._all_read(pending.job, pending.ended_s):
                return False
            if pending.job.turn is not None:
                pending.answer.set_exception(TurnLost(_TURN_LOST))
                return False
            self._rename(pending)
        if not self._submit_again(pending):
            return False
        log.info("queued again: Redis had forgotten it", job=pending.job.id)
        return True

    def _rename(self, pending: Pending) -> None:
        """Wait for a job of another id: the one that there was has ended."""
        del self._waiting[pending.job.id]
        pending.sink.release(pending.job)
        pending.job = pending.job._replace(id=self._next_id())
        self._waiting[pending.job.id] = pending

    def _submit_again(self, pending: Pending) -> bool:
        """Submit it for what is left of its time, if anything is."""
        left_ms = int((pending.ends_s - self._clock()) * 1000)
        if left_ms <= 0:
            return False
        pending.job = pending.job._replace(ttl_ms=left_ms)
        pending.ended_s = None
        self._counters.count(pending.job.ref, RESUBMITTED)
        self.submit(pending)
        return True
