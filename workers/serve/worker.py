"""The worker: claims jobs of one stage, runs them in batches, and ends each.

The claimer keeps at most one batch ahead, the device is kept busy, and what has ended is sent off
(`results`). One event loop owns all of it; batches run on the device's own thread, or right where
they are if they are known to be short (`run_estimate`).
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Final

import structlog

from penstock.errors import Code, InvalidRequest, PenstockError
from penstock.process import machine
from penstock.process.lifetime import until_first
from penstock.retry import Backoff
from penstock.scheduler.jobs.queue import Queue, bell_wait_s
from penstock.scheduler.jobs.types import Claim, ClaimTerms, Lease
from penstock.scheduler.store.link import Link
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.run.decoding import PayloadLost
from penstock.workers.run.execution import Execution, Failure, Ran
from penstock.workers.run.work import ResultSink, Work
from penstock.workers.runtimes.runtime import Runtime
from penstock.workers.serve.batch_times import BatchTimes
from penstock.workers.serve.batching import (
    BatchRules,
    GuaranteedTurns,
    RowLimit,
    choose_batch,
    rows_to_claim,
)
from penstock.workers.serve.queue_sink import QueueSink
from penstock.workers.serve.results import NO_TIME, JobResults
from penstock.workers.serve.run_estimate import SHORT_S, RunEstimate
from penstock.workers.serve.spec import WorkerSpec
from penstock.workers.serve.work_done import WorkMeter

log = structlog.get_logger()

_BACKOFF: Final = Backoff(0.2, 2.0)
_MOST_HANDED_S: Final = 0.004
"""All that is handed over at a time is done within this."""

_ASLEEP_AFTER_S: Final = 0.0002
"""What waits in the queue has woken a worker by then."""
_TOO_LATE: Final = Failure(Code.DEADLINE_EXCEEDED, "the deadline passed before the work was begun")


class DeviceBroken(Exception):
    """The shard no longer runs even on what it was warmed up with."""


class Worker:
    """One stage on one device.

    Attributes:
        batch_times: how long its batches take.
        work: how much it has done.
        may_be_handed: whether it takes jobs past the queue while it sleeps.
        on_sleep: is called when it goes to sleep.
        on_unsplittable: is called with the reason when a batch could not be split.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        queue: Queue,
        link: Link,
        execution: Execution[Runtime],
        renewal: Renewal,
        device: ThreadPoolExecutor,
    ) -> None:
        """*link* is for its claims alone; *device* is the one thread that runs the shard."""
        self._spec = spec
        self._row_limit = RowLimit(spec.rules, guessed=spec.guessed)
        self._rules = self._row_limit.rules
        self._queue = queue
        self._link = link
        self._execution = execution
        self._renewal = renewal
        self._device = device
        self._decoder = spec.decoder()
        self._sink = QueueSink(spec, queue, link, renewal)
        self._results = JobResults(spec, self._sink)
        self._estimate = RunEstimate(inline=execution.inline, fixed=execution.fixed_rows)
        self._turns = GuaranteedTurns()
        self.batch_times = BatchTimes()
        self.work = WorkMeter()
        self._staged: list[Work] = []
        self._running: asyncio.Task[None] | None = None
        self._claim_due = True
        self._draining = False
        self._last_error = ""
        self._sleeps_since_s: float | None = None
        self._empty_claims = 0
        self.may_be_handed = self._estimate.inline and _needs_no_queue(spec)
        self.on_sleep: Callable[[], None] = lambda: None
        self.on_unsplittable: Callable[[str], None] = lambda _: None
        self._nonces = count()
        self._room = asyncio.Event()

    def __repr__(self) -> str:
        state = "running" if self._running else "idle"
        return f"Worker({self._spec.ref.queue}, {state}, {len(self._staged)} staged)"

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop*; then end the batch that runs and give back what was not begun.

        Raises:
            DeviceBroken: the process should end and be started anew.
        """
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        claimer = asyncio.create_task(self._claim_jobs())
        try:
            await until_first(stop, claimer, self._broken)
        except DeviceBroken:
            await self._drain(claimer)
            # Only what the device had is left: it may have been the reason.
            await self._results.release_abandoned()
            raise
        except Exception:
            # A defect: what ran may have been the reason; what had not begun has not.
            await self._drain(claimer)
            raise
        else:
            await self._drain(claimer)
        finally:
            claimer.cancel()
            await asyncio.gather(claimer, return_exceptions=True)

    async def _drain(self, claimer: "asyncio.Task[None]") -> None:
        self._draining = True
        self._room.set()
        try:
            # A hint: without Redis the sleep ends by itself.
            with contextlib.suppress(PenstockError):
                await self._queue.wake(self._spec.ref, self._spec.boot_id)
            await claimer
            if under_way := self._under_way():
                await asyncio.wait(under_way)
        finally:
            unbegun, self._staged = self._staged, []
            self._results.give_back(work for work in unbegun if not work.given_back)
            await self._sink.written()

    def stop_sharing(self, why: str) -> None:
        """From now on no two requests share a run: of *why*, for good."""
        if not self._rules.together:
            return
        log.warning("requests run one at a time from now on", reason=why)
        self._rules = BatchRules(most_rows=self._rules.most_rows)
        self.on_unsplittable(why)

    # claiming

    async def _claim_jobs(self) -> None:
        some_wait = False
        while not self._draining:
            room = rows_to_claim(sum(work.rows for work in self._staged), self._rules)
            if room == 0 or (self._is_busy() and not self._claim_due):
                self._room.clear()
                await self._room.wait()
                continue
            self._claim_due = False
            # Nobody rings again for a job that waits for others to share its batch.
            claim = await self._claim(room, may_sleep=not some_wait)
            some_wait = bool(claim.wait_us)
            if claim.leases:
                self._turns.took()
                if self._running is None:
                    self.batch_times.claimed(time.perf_counter())
                self._renewal.hold(self._stage(claim.leases, self._sink))
                self._begin()
            elif claim.wait_us:
                # Looks before the time is over, since the batch may be full by then.
                wait_s = claim.wait_us / 1e6
                self._claim_due = True
                await asyncio.sleep(min(wait_s, max(0.001, wait_s / 10)))

    async def _claim(self, room: int, *, may_sleep: bool) -> Claim:
        spec, nonce = self._spec, f"{next(self._nonces):x}"
        sleeps = not self._is_busy() and may_sleep
        terms = ClaimTerms(
            rows=room,
            lease_ms=spec.lease_ms,
            enough_rows=self._rules.enough_rows,
            batch_delay_us=self._rules.batch_delay_us,
            preferred=self._rules.preferred,
            idle=self._is_idle(),
            guaranteed_turn=self._turns.next(),
        )
        call = self._queue.claim_now
        if sleeps:
            call = partial(self._queue.claim, sleep_s=bell_wait_s(self._empty_claims))
            self._sleeps_since_s = time.perf_counter()
            self.on_sleep()
        asking = partial(call, spec.ref, spec.boot_id, nonce, terms, self._link)
        claim = await claimed(asking, lambda: self._draining)
        self._sleeps_since_s = None
        self._empty_claims = 0 if claim.leases else self._empty_claims + 1
        return claim

    def _is_busy(self) -> bool:
        """Whether it can take nothing that it would begin at once."""
        return not self._is_idle()

    def _is_idle(self) -> bool:
        """Whether it has nothing at all."""
        return self._running is None and not self._staged

    def _under_way(self) -> set["asyncio.Task[None]"]:
        """What runs."""
        return set() if self._running is None else {self._running}

    def _claim_ahead(self) -> None:
        self._claim_due = True
        self._room.set()

    def _stage(self, leases: Sequence[Lease], sink: ResultSink) -> list[Work]:
        spec, now_s = self._spec, time.monotonic()
        works: list[Work] = []
        for lease in leases:
            try:
                work = self._decoder.decode(lease, now_s)
                if work.ensemble_step is not None and spec.ref.stage == 0:
                    work.ensemble_step.check(work.tensors, spec.inputs, spec.rules.most_rows)
                work.sink = sink
                works.append(work)
            except (InvalidRequest, PayloadLost) as error:
                self._results.refuse(lease, error, sink)
        self._staged += works
        return works

    # jobs that somebody hands over while the worker sleeps

    def is_asleep(self) -> bool:
        """Whether it has nothing to do, and nothing waits in its queue."""
        since_s = self._sleeps_since_s
        if since_s is None or self._draining or not self._is_idle():
            return False
        return time.perf_counter() - since_s > _ASLEEP_AFTER_S

    def rows_at_once(self) -> int:
        """How many rows at a time may be handed over; none where even one takes long."""
        if self._draining or self._estimate.rows_within(SHORT_S) == 0:
            return 0
        return min(self._estimate.rows_within(_MOST_HANDED_S), self._spec.rules.most_rows)

    def take(self, leases: Sequence[Lease], sink: ResultSink) -> bool:
        """Begin jobs whose results *sink* hears; or leave them, unless `is_asleep`."""
        if not self.is_asleep():
            return False
        self.batch_times.claimed(time.perf_counter())
        self._stage(leases, sink)
        if not self._estimate.fixed:
            self._staged, long = self._estimate.without_long(self._staged, _MOST_HANDED_S)
            self._results.give_back(long)
        self._begin()
        return True

    # running

    def _begin(self) -> None:
        """Run what is staged, batch after batch, unless the device is busy."""
        while self._running is None and not self._draining and self._staged:
            batch = self._next_batch()
            if not batch:
                continue
            rows = sum([work.lease.rows for work in batch])
            size = self._estimate.size_of(batch, rows)
            if self._estimate.is_short(batch, size):
                self._renewal.batch_begins(batch)
                ran, took_s = self._execution.timed_run(batch)
                self._renewal.batch_ends()
                self._end(batch, ran, rows, size, took_s)
            else:
                self._run(self._run_on_device(batch, rows, size))

    def _next_batch(self) -> list[Work]:
        """Take the next batch; jobs that nobody waits for any more are ended instead."""
        chosen = choose_batch(self._staged, self._rules)
        if len(chosen) == len(self._staged):
            self._staged = []
        else:
            taken = {id(work) for work in chosen}
            self._staged = [work for work in self._staged if id(work) not in taken]
        self._renewal.begin(chosen)
        chosen = [work for work in chosen if not work.given_back]
        now_s = time.monotonic()
        over = [work for work in chosen if work.revoked or work.ends_s <= now_s]
        if not over:
            return chosen
        self._results.finish(over, Ran([_TOO_LATE] * len(over), NO_TIME))
        return [work for work in chosen if not work.revoked and work.ends_s > now_s]

    def _run(self, work: "asyncio._CoroutineLike[None]") -> None:
        """Keep the device busy with *work*."""
        self._running = asyncio.create_task(work)
        self._running.add_done_callback(self._free)

    def _free(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._broken.done():
            self._draining = True
            self._broken.set_exception(error)
        if self._running is task:
            self._running = None
            self._claim_ahead()
            self._begin()

    async def _run_on_device(self, batch: list[Work], rows: int, size: int) -> None:
        loop = asyncio.get_running_loop()
        after_s = self._estimate.claim_after_s(size)
        timer = None if after_s is None else loop.call_later(after_s, self._claim_ahead)
        self._renewal.batch_begins(batch, self._estimate.expected_s(size))
        try:
            ran, took_s = await loop.run_in_executor(self._device, self._execution.timed_run, batch)
        finally:
            self._renewal.batch_ends()
            if timer is not None:
                timer.cancel()
        self._running = None
        self._end(batch, ran, rows, size, took_s)
        self._claim_ahead()
        self._begin()

    def _end(self, batch: list[Work], ran: Ran, rows: int, size: int, took_s: float) -> None:
        self._estimate.observe(batch, rows, size, took_s)
        self.work.add(rows, took_s)
        grows = self._rules.together and ran.error is None
        if grows and self._row_limit.observe(rows, took_s, machine.has_room):
            self._rules = self._row_limit.rules
        if ran.unsplittable:
            self.stop_sharing(ran.unsplittable)
        if ran.error is None:
            self.batch_times.ended(rows, time.perf_counter())
        if ran.error is not None and self._is_suspect(batch, ran):
            self._run(self._check_device(batch, ran, rows))
        else:
            self._results.finish(batch, ran, rows)

    # the device

    def _is_suspect(self, batch: Sequence[Work], ran: Ran) -> bool:
        """Whether the device, rather than its jobs, may be at fault."""
        if str(ran.error) != self._last_error:
            self._last_error = str(ran.error)
            log.warning("a batch failed", error=self._last_error, jobs=len(batch))
        failed = any(isinstance(result, Failure) for result in ran.results)
        return failed and not isinstance(ran.error, PenstockError)

    async def _check_device(self, batch: list[Work], ran: Ran, rows: int) -> None:
        """End the batch as it ran if the device still does what it has done."""
        loop = asyncio.get_running_loop()
        self._renewal.batch_begins(batch)
        try:
            await loop.run_in_executor(self._device, self._execution.try_device)
        except Exception as error:
            self._results.abandon(batch)
            raise DeviceBroken(str(error)) from error
        finally:
            self._renewal.batch_ends()
        self._results.finish(batch, ran, rows)


async def claimed(claim: Callable[[], Awaitable[Claim]], drains: Callable[[], bool]) -> Claim:
    """What *claim* gives, tried until it gives something; nothing once its worker *drains*."""
    for attempt in count(1):
        try:
            return await claim()
        except PenstockError as error:
            # The same nonce again: the claim may have been made, its answer lost.
            log.warning("claiming failed", error=str(error))
            await asyncio.sleep(_BACKOFF.delay_s(attempt))
            if drains():
                return Claim([], None)
    raise AssertionError("there is always another try")


def _needs_no_queue(spec: WorkerSpec) -> bool:
    """Whether it matters for no job of the shard which way it comes, but for the time."""
    alone = spec.last and spec.ref.stage == 0 and spec.states is None
    return alone and spec.rules.batch_delay_us == 0
