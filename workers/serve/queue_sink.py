"""Writes to the queue what becomes of its jobs, however long Redis is away.

The write leaves in the same event-loop turn in which the batch ended, before the next claim. What
cannot be written is not lost: the lease ends, and another worker has the job.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import structlog

from penstock.errors import PenstockError, StoreUnavailable
from penstock.scheduler.jobs.handoff import Destination, Step
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import Held, Move, Outcome, Timing
from penstock.scheduler.store.link import Link
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.serve.spec import WorkerSpec

log = structlog.get_logger()

_RETRY_DELAY_MS: Final = 50
_PERSIST_S: Final = 60.0

Write = Callable[[], Awaitable[list[Held]]]


class QueueSink:
    """The sink of jobs that came from the queue; each call is about those of one claim."""

    def __init__(self, spec: WorkerSpec, queue: Queue, link: Link | None, renewal: Renewal) -> None:
        """*link*: the one for claims; None where it may be blocked while something runs."""
        self._spec = spec
        self._queue = queue
        self._link = link
        self._renewal = renewal
        self._writing: set[asyncio.Task[None]] = set()

    def settle(self, token: str, rows: int, timing: Timing, outcomes: Sequence[Outcome]) -> None:
        """See `ResultSink.settle`."""
        settle = partial(self._queue.settle, token, self._spec.ref, rows, timing, outcomes)
        self._begin_with_claim(settle, [outcome.job for outcome in outcomes])

    def give_back(self, token: str, jobs: Sequence[str]) -> None:
        """See `ResultSink.give_back`."""
        self._begin(partial(self._queue.give_back, self._spec.ref.model, token, jobs), jobs)

    def retry(self, token: str, jobs: Sequence[str], why: str, most: int) -> None:
        """Return jobs for another try, elsewhere or later; the last of *most* fails them."""
        again = partial(self._queue.retry, self._spec.ref.model, token, jobs)
        self._begin(partial(again, delay_ms=_RETRY_DELAY_MS, most=most, why=why), jobs)

    def advance(self, token: str, timing: Timing, payloads: Sequence[tuple[str, bytes]]) -> None:
        """Pass jobs on to the next stage, each with what that reads."""
        following = self._spec.ref._replace(stage=self._spec.ref.stage + 1)
        write = partial(self._queue.advance, token, following, timing, payloads)
        self._begin(write, [job for job, _ in payloads])

    def forward(
        self, token: str, to: Destination, rows: int, timing: Timing, moves: Sequence[Move]
    ) -> None:
        """Pass jobs of a batch of *rows* rows on to the next step of their ensembles."""
        step = Step(self._spec.ref, to, rows, timing)
        forward = partial(self._queue.steps.forward, token, step, moves)
        self._begin_with_claim(forward, [move.job for move in moves])

    async def break_off(self) -> None:
        """See `ResultSink.break_off`."""
        # If there is no store, the node does it, or the lease ends.
        with contextlib.suppress(PenstockError):
            await self._queue.release_leases_of(self._spec.ref.model, self._spec.boot_id)

    async def written(self) -> None:
        """Wait until everything is written, or given up."""
        if self._writing:
            await asyncio.wait(self._writing)

    def _begin_with_claim(
        self, write: Callable[..., Awaitable[list[Held]]], jobs: Sequence[str]
    ) -> None:
        """The first try leaves together with the next claim."""
        first = None if self._link is None else partial(write, link=self._link)
        self._begin(write, jobs, first=first)

    def _begin(self, write: Write, jobs: Sequence[str], first: Write | None = None) -> None:
        task = asyncio.create_task(self._persist((first or write)(), write, jobs))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _persist(
        self, trying: Awaitable[list[Held]], write: Write, jobs: Sequence[str]
    ) -> None:
        """Write until it is done; *trying* is the first try, which is under way."""
        give_up_s = time.monotonic() + _PERSIST_S
        try:
            while True:
                try:
                    await trying
                except StoreUnavailable as error:
                    log.warning("Redis is away, the result waits", error=str(error))
                    if time.monotonic() > give_up_s:
                        return
                    trying = write()
                except PenstockError as error:
                    log.error("the queue refused a result", error=str(error))  # noqa: TRY400
                    return
                else:
                    return
        finally:
            self._renewal.release(jobs)
