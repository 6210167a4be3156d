"""The worker: claims jobs of one stage, runs them in batches, and settles or advances each.

Three things go on at once: the claimer keeps at most one batch ahead, the runner keeps the device
busy, and finished batches are sent off. One event loop owns all of it; only the runtime is on a
thread of its own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count, groupby
from typing import Any

import structlog

from penstock.errors import Code, InvalidRequest, PenstockError, StoreUnavailable
from penstock.scheduler.jobs import Claim, ClaimTerms, Held, Lease, Outcome, Timing
from penstock.scheduler.keys import StageRef
from penstock.scheduler.link import Link
from penstock.scheduler.queue import Queue
from penstock.workers import codec
from penstock.workers.batching import BatchRules, Pace, choose_batch, rows_to_claim
from penstock.workers.codec import Work
from penstock.workers.execution import Execution, Failure, Ran
from penstock.workers.renewal import Renewal

log = structlog.get_logger()

_NO_TIME = Timing()
_RETRY_DELAY_MS, _MOST_ATTEMPTS = 50, 3
_PERSIST_S = 60.0
_SHORT_S = 0.001


class DeviceBroken(Exception):
    """The shard no longer runs even on what it was warmed up with."""


@dataclass(frozen=True, slots=True)
class Duty:
    """What a worker is there for.

    Attributes:
        boot_id: new with each start; lease tokens begin with it.
        step: how the worker calls itself in a request's path.
        consumes: names of the tensors that its shard reads.
        keeps: names of those that travel on; in the last stage the model's outputs.
        batched: tensors have a batch dimension in front.
    """

    ref: StageRef
    last: bool
    boot_id: str
    step: str
    consumes: tuple[str, ...]
    keeps: tuple[str, ...]
    rules: BatchRules
    batched: bool
    lease_ms: int


class Worker:
    """One stage on one device."""

    def __init__(
        self,
        duty: Duty,
        queue: Queue,
        link: Link,
        execution: Execution,
        renewal: Renewal,
        device: ThreadPoolExecutor,
    ) -> None:
        """*link* is for its claims alone; *device* is the one thread that runs the shard."""
        self._duty = duty
        self._queue = queue
        self._link = link
        self._execution = execution
        self._renewal = renewal
        self._device = device
        self._pace = Pace()
        self._staged: list[Work] = []
        self._running = False
        self._claim_due = True
        self._draining = False
        self._told = ""
        self._nonces = count()
        self._room = asyncio.Event()
        self._work = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        state = "running" if self._running else "idle"
        return f"Worker({self._duty.ref.queue}, {state}, {len(self._staged)} staged)"

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop*; then end the batch that runs and give back what was not begun.

        Raises:
            DeviceBroken: the process should end and be started anew.
        """
        claimer = asyncio.create_task(self._claim_jobs())
        runner = asyncio.create_task(self._run_batches())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({claimer, runner, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await self._drain(claimer, runner)
        finally:
            for task in (claimer, runner, stopped):
                task.cancel()
            await asyncio.gather(claimer, runner, stopped, return_exceptions=True)

    async def _drain(self, claimer: "asyncio.Task[None]", runner: "asyncio.Task[None]") -> None:
        self._draining = True
        self._room.set()
        self._work.set()
        try:
            await self._queue.wake(self._duty.ref, self._duty.boot_id)
            await asyncio.gather(claimer, runner)
        finally:
            unbegun, self._staged = self._staged, []
            await self._give_back(unbegun)
            if self._sending:
                await asyncio.wait(self._sending)

    # claiming

    async def _claim_jobs(self) -> None:
        while not self._draining:
            room = rows_to_claim(sum(work.rows for work in self._staged), self._duty.rules)
            busy = self._running or bool(self._staged)
            if room == 0 or (busy and not self._claim_due):
                self._room.clear()
                await self._room.wait()
                continue
            self._claim_due = False
            claim = await self._claim(room)
            if claim.leases:
                self._stage(claim.leases)
            elif claim.wait_us:
                # Looks before the time is over, since the batch may be full by then.
                wait_s = claim.wait_us / 1e6
                self._claim_due = True
                await asyncio.sleep(min(wait_s, max(0.001, wait_s / 10)))

    async def _claim(self, room: int) -> Claim:
        duty, nonce = self._duty, f"{next(self._nonces):x}"
        idle = not self._running and not self._staged
        terms = ClaimTerms(
            rows=room,
            lease_ms=duty.lease_ms,
            enough_rows=duty.rules.enough_rows,
            patience_us=duty.rules.patience_us,
            idle=idle,
        )
        call = self._queue.claim if idle else self._queue.claim_now
        while True:
            try:
                return await call(duty.ref, duty.boot_id, nonce, terms, self._link)
            except PenstockError as error:
                # The same nonce again: the claim may have been made, its answer lost.
                log.warning("claiming failed", error=str(error))
                await asyncio.sleep(0.2)
                if self._draining:
                    return Claim([], None)

    def _stage(self, leases: Sequence[Lease]) -> None:
        duty, now_s = self._duty, time.monotonic()
        works: list[Work] = []
        for lease in leases:
            try:
                works.append(codec.decode(lease, duty.consumes, batched=duty.batched, now_s=now_s))
            except InvalidRequest as error:
                self._send(self._settle(lease.token, 0, _NO_TIME, [_failed(lease, error)]))
        self._renewal.hold(works)
        self._staged += works
        self._work.set()

    # running

    async def _run_batches(self) -> None:
        while True:
            batch = choose_batch(self._staged, self._duty.rules)
            if self._draining:
                return
            if not batch:
                self._work.clear()
                await self._work.wait()
                continue
            chosen = {id(work) for work in batch}
            self._staged = [work for work in self._staged if id(work) not in chosen]
            sound = self._drop_ended(batch)
            if sound:
                await self._run_batch(sound)

    def _drop_ended(self, batch: list[Work]) -> list[Work]:
        """Those of *batch* that somebody still waits for; the others are ended now."""
        now_s = time.monotonic()
        sound = [work for work in batch if not work.revoked and work.ends_s > now_s]
        if len(sound) < len(batch):
            ended = [work for work in batch if work.revoked or work.ends_s <= now_s]
            late = Failure(Code.DEADLINE_EXCEEDED, "the deadline passed before the work was begun")
            self._send(self._finish(ended, Ran([late] * len(ended), _NO_TIME)))
        return sound

    async def _run_batch(self, batch: list[Work]) -> None:
        loop = asyncio.get_running_loop()
        rows = sum(work.rows for work in batch)
        self._running = True
        after_s = self._pace.claim_after_s(rows)
        timer = None if after_s is None else loop.call_later(after_s, self._claim_ahead)
        self._renewal.batch_begins()
        started = loop.time()
        try:
            ran = await self._compute(batch, rows)
        finally:
            self._renewal.batch_ends()
            self._running = False
            if timer is not None:
                timer.cancel()
            self._claim_ahead()
        self._pace.observe(rows, loop.time() - started)
        if ran.error is not None:
            await self._check_device(batch, ran)
        self._send(self._finish(batch, ran, rows))

    async def _compute(self, batch: list[Work], rows: int) -> Ran:
        foreseen_s = self._pace.foreseen_s(rows)
        if foreseen_s is not None and foreseen_s < _SHORT_S and self._execution.any_thread:
            # The way to the device's thread and back would take longer than the batch.
            return self._execution.run(batch)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._device, self._execution.run, batch)

    def _claim_ahead(self) -> None:
        self._claim_due = True
        self._room.set()

    async def _check_device(self, batch: list[Work], ran: Ran) -> None:
        if str(ran.error) != self._told:
            self._told = str(ran.error)
            log.warning("a batch failed", error=self._told, jobs=len(batch))
        failed = any(isinstance(result, Failure) for result in ran.results)
        if isinstance(ran.error, PenstockError) or not failed:
            # The jobs were at fault, or can only not be batched: the device runs them.
            return
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._device, self._execution.warm_up, 1)
        except Exception as error:
            await self._retry(batch, str(ran.error))
            raise DeviceBroken(str(error)) from error

    # ending jobs

    def _send(self, sending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(sending)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _finish(self, batch: list[Work], ran: Ran, rows: int = 0) -> None:
        """Settle or advance each job of a batch; one call for each claim that it came from."""
        duty = self._duty
        pairs = sorted(zip(batch, ran.results, strict=True), key=lambda p: p[0].lease.token)
        try:
            for token, group in groupby(pairs, key=lambda pair: pair[0].lease.token):
                outcomes: list[Outcome] = []
                moves: list[tuple[str, bytes]] = []
                for work, result in group:
                    if work.revoked:
                        outcomes.append(Outcome(work.lease.id, Code.CANCELLED, "", b""))
                    elif isinstance(result, Failure):
                        outcomes.append(Outcome(work.lease.id, result.code, result.message, b""))
                    elif duty.last:
                        body = codec.reply(work, result, duty.keeps, duty.ref.version, duty.step)
                        outcomes.append(Outcome(work.lease.id, Code.OK, "", body))
                    else:
                        body = codec.next_payload(work, result, duty.keeps, duty.step)
                        moves.append((work.lease.id, body))
                if moves:
                    await self._advance(token, ran.timing, moves)
                if outcomes:
                    await self._settle(token, rows, ran.timing, outcomes)
                rows = 0
        finally:
            self._renewal.release(batch)

    async def _settle(
        self, token: str, rows: int, timing: Timing, outcomes: Sequence[Outcome]
    ) -> None:
        settle = partial(self._queue.settle, token, self._duty.ref, rows, timing, outcomes)
        await self._persist(settle)

    async def _advance(
        self, token: str, timing: Timing, moves: Sequence[tuple[str, bytes]]
    ) -> None:
        following = self._duty.ref._replace(stage=self._duty.ref.stage + 1)
        await self._persist(partial(self._queue.advance, token, following, timing, moves))

    async def _give_back(self, works: Iterable[Work]) -> None:
        model = self._duty.ref.model
        for token, ids in _by_token(works):
            await self._persist(partial(self._queue.give_back, model, token, ids))

    async def _retry(self, works: Iterable[Work], why: str) -> None:
        again = partial(self._queue.retry, delay_ms=_RETRY_DELAY_MS, most=_MOST_ATTEMPTS, why=why)
        for token, ids in _by_token(works):
            await self._persist(partial(again, self._duty.ref.model, token, ids))

    async def _persist(self, call: Callable[[], Awaitable[list[Held]]]) -> None:
        """Write to the queue however long Redis is away, up to a limit.

        What cannot be written is not lost: the lease ends, and another worker has the job.
        """
        give_up_s = time.monotonic() + _PERSIST_S
        while True:
            try:
                await call()
            except StoreUnavailable as error:
                log.warning("Redis is away, the result waits", error=str(error))
                if time.monotonic() > give_up_s:
                    return
            except PenstockError as error:
                log.error("the queue refused a result", error=str(error))  # noqa: TRY400
                return
            else:
                return


def _by_token(works: Iterable[Work]) -> Iterator[tuple[str, list[str]]]:
    """Ids of *works* by the claim that they came from."""
    for token, group in groupby(works, key=lambda work: work.lease.token):
        yield token, [work.lease.id for work in group]


def _failed(lease: Lease, error: PenstockError) -> Outcome:
    return Outcome(lease.id, error.code, str(error), b"")
