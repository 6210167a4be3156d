"""The worker of a language model: claims answers, steps them together, and keeps each token.

It claims as many jobs as there are slots, whenever there is room, and goes on with each from its
log. After each step of the engine (`Steps`) the new tokens of all answers are stored in one call,
which is under way while the next step computes; nobody has seen a token that is not in its log.
Whatever ends this worker, another goes on from there.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any, Final

import structlog

from penstock.errors import Code, InvalidRequest, OutOfMemory, PenstockError, StoreUnavailable
from penstock.language.manifest import Manifest
from penstock.language.rebuild import Rebuild
from penstock.process.lifetime import until_first
from penstock.retry import Backoff
from penstock.scheduler.jobs.logs import Appended, Logs, NewTokens
from penstock.scheduler.jobs.queue import Queue, bell_wait_s
from penstock.scheduler.jobs.types import Claim, ClaimTerms, Lease, Outcome, Timing
from penstock.scheduler.observe.counters import PREEMPTED, add_counts
from penstock.scheduler.store.link import Link
from penstock.workers.language.engine import Caches, Engine, Model, NewToken
from penstock.workers.language.head import GroupBroken
from penstock.workers.language.prefixes import Prefixes
from penstock.workers.language.speech.encoder import check_audio
from penstock.workers.language.structured import WHY_STUCK
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.run.decoding import PayloadLost
from penstock.workers.serve.language.jobs import (
    Active,
    answer_of,
    new_tokens,
    read_log,
    reply_of,
)
from penstock.workers.serve.language.preemption import to_preempt
from penstock.workers.serve.language.steps import Steps
from penstock.workers.serve.queue_sink import QueueSink
from penstock.workers.serve.spec import WorkerSpec
from penstock.workers.serve.work_done import WorkMeter
from penstock.workers.serve.worker import DeviceBroken, claimed

log = structlog.get_logger()

_STORE_BACKOFF: Final = Backoff(0.02, 1.0)
_MOST_TRIES: Final = 1000
_PREEMPTS_EVERY_S: Final = 0.1
"""So often a worker whose slots are taken looks whether something more urgent waits."""

_UNFIT_S: Final = 0.02
_NO_TIME: Final = Timing()
_NOTHING_KNOWN: Final = Caches()

Breaks = Coroutine[Any, Any, None] | None


class LanguageWorker:
    """One version of a language model, on one device.

    Attributes:
        work: how much it has done: steps, and the tokens that they brought.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        queue: Queue,
        link: Link,
        manifest: Manifest,
        renewal: Renewal,
        device: ThreadPoolExecutor,
    ) -> None:
        """*link* is for its claims alone; *device* is the one thread that computes."""
        self._spec = spec
        self._queue = queue
        self._link = link
        self._renewal = renewal
        self._device = device
        self._manifest = manifest
        self.work = WorkMeter()
        self._logs = Logs(queue)
        # Claims sleep on the bell while answers are under way, and that blocks their link.
        self._sink = QueueSink(spec, queue, None, renewal)
        self._decoder = spec.decoder()
        self._nonces = count()

    def __repr__(self) -> str:
        return f"LanguageWorker({self._spec.ref.queue})"

    async def run(
        self,
        model: Model,
        stop: asyncio.Event,
        breaks: Breaks = None,
        caches: Caches = _NOTHING_KNOWN,
    ) -> None:
        """Work until *stop*; then give back all answers, to go on elsewhere from their logs.

        Args:
            model: what computes until then.
            breaks: raises `GroupBroken` once the model is broken.

        Raises:
            GroupBroken: what it had goes on as after a worker's death, here too with a new model.
            DeviceBroken: the process should end and be started anew.
        """
        self._begin_with(model, caches)
        claiming = asyncio.create_task(self._claim_jobs())
        stepping = asyncio.create_task(self._step_on())
        watching = [] if breaks is None else [asyncio.create_task(breaks)]
        tasks = [claiming, stepping, *watching]
        try:
            await until_first(stop, *tasks)
        except GroupBroken:
            await self._end_tasks(claiming, stepping)
            self._renewal.release([active.id for active in self._active.values()])
            await self._sink.break_off()
            raise
        except Exception as error:
            # What it had may have been the reason: others get it as after a worker's death.
            await self._sink.break_off()
            raise DeviceBroken(str(error)) from error
        else:
            await self._give_back(claiming, stepping)
        finally:
            self._steps.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _begin_with(self, model: Model, caches: Caches) -> None:
        self._capacity = model.capacity
        self._slots = model.slots
        self._rebuild = caches.rebuild
        # Its own of each model: the caches of another one are others.
        prefixes = Prefixes(model.slots) if caches.reuses else None
        ends = self._manifest.end_tokens
        self._engine = Engine(model, ends, prefixes=prefixes, rebuild=caches.rebuild)
        self._steps = Steps(self._engine, self._device, self._renewal)
        self._active: dict[int, Active] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._draining = False
        self._empty_claims = 0
        self._room = asyncio.Event()

    async def _give_back(self, *tasks: "asyncio.Task[None]") -> None:
        await self._end_tasks(*tasks)
        for active in list(self._active.values()):
            self._sink.give_back(active.token, [active.id])
        await self._sink.written()

    async def _end_tasks(self, *tasks: "asyncio.Task[None]") -> None:
        self._draining = True
        self._room.set()
        self._steps.stop()
        # A hint: without the store the sleep ends by itself.
        with contextlib.suppress(PenstockError):
            await self._queue.wake(self._spec.ref, self._spec.boot_id)
        await asyncio.wait(tasks)
        if self._keeping is not None:
            await asyncio.wait({self._keeping})

    # claiming

    async def _claim_jobs(self) -> None:
        while not self._draining:
            if not self._has_room():
                self._room.clear()
                await self._wait_for_room()
                continue
            claim = await self._claim(self._slots - len(self._active))
            self._empty_claims = 0 if claim.leases else self._empty_claims + 1
            for lease in claim.leases:
                await self._begin(lease)
            if claim.does_not_fit and not claim.leases:
                await asyncio.sleep(_UNFIT_S)

    async def _wait_for_room(self) -> None:
        """Wait until there is room; an answer makes some for one that is more urgent."""
        if not self._spec.preempts:
            await self._room.wait()
        while not self._room.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PREEMPTS_EVERY_S):
                    await self._room.wait()
                return
            if all(active.proved for active in self._active.values()):
                await self._preempt()

    async def _preempt(self) -> None:
        held = list(self._active.values())
        try:
            waiting, urgencies = await self._queue.urgencies(
                self._spec.ref, [active.id for active in held]
            )
        except PenstockError as error:
            log.debug("nobody knows what waits", error=str(error))
            return
        number = to_preempt(waiting, urgencies)
        if number is None or id(held[number].answer) not in self._active or self._draining:
            return
        preempted = held[number]
        # What it has computed and not stored is computed again, by whoever goes on.
        self._let_go(preempted, left=False)
        self._sink.give_back(preempted.token, [preempted.id])
        # Before the next claim, which may be of the same job.
        await self._sink.written()
        ref = self._spec.ref
        with contextlib.suppress(PenstockError):
            await add_counts(self._queue, ref.model, ref.version, {PREEMPTED: 1})

    def _has_room(self) -> bool:
        """Not beside an answer that may have ended a worker, until it has brought a token."""
        proved = all(active.proved for active in self._active.values())
        return proved and len(self._active) < self._slots

    async def _claim(self, room: int) -> Claim:
        spec, nonce = self._spec, f"{next(self._nonces):x}"
        # What must run alone is taken beside answers that are known to be harmless.
        terms = ClaimTerms(rows=room, lease_ms=spec.lease_ms, idle=True)
        sleep_s = bell_wait_s(self._empty_claims)
        claim = partial(self._queue.claim, spec.ref, spec.boot_id, nonce, terms, self._link)
        return await claimed(partial(claim, sleep_s=sleep_s), lambda: self._draining)

    async def _begin(self, lease: Lease) -> None:
        """Take a claimed job; it goes on from its log."""
        try:
            work = self._decoder.decode(lease, time.monotonic())
            work.sink = self._sink
            self._renewal.hold([work])
            self._renewal.begin([work])
            kept = await read_log(self._logs, self._spec.ref.model, lease)
            active = answer_of(work, kept)
            if active.answer.finish(self._manifest.end_tokens, self._capacity) and kept:
                self._settle(active)
                return
            self._check(active)
        except (InvalidRequest, PayloadLost) as error:
            outcome = Outcome(lease.id, error.code, str(error), b"")
            self._sink.settle(lease.token, 0, _NO_TIME, [outcome])
            return
        if kept and self._rebuild is Rebuild.NONE:
            log.warning("an answer goes on, and may say what it would not have said", job=lease.id)
        self._active[id(active.answer)] = active
        self._steps.admit(active.answer)

    def _check(self, active: Active) -> None:
        """Refuse what the engine would compute wrongly."""
        answer = active.answer
        self._engine.check(answer)
        check_audio(self._manifest, answer)
        most = max([*answer.prompt, *answer.log])
        if min(answer.prompt) < 0 or most >= self._manifest.vocabulary:
            raise InvalidRequest(f"the model has the tokens 0 to {self._manifest.vocabulary - 1}")

    # stepping

    async def _step_on(self) -> None:
        while (step := await self._steps.next()) is not None:
            self.work.add(len(step.brought), step.took_s)
            await self._kept()
            grown = [(self._active.get(id(one.answer)), one) for one in step.brought]
            new = self._going_on([(active, one) for active, one in grown if active is not None])
            if new:
                self._keeping = asyncio.create_task(self._keep(new))
            else:
                self._steps.stored()
            self._end_overdue()
        await self._kept()

    async def _kept(self) -> None:
        """Wait until the tokens of the step before are in the store."""
        if self._keeping is not None:
            await self._keeping
            self._keeping = None

    def _going_on(
        self, brought: Sequence[tuple[Active, NewToken]]
    ) -> list[tuple[Active, NewToken]]:
        """Those of *brought* that have a token; the others end."""
        for active, new in brought:
            if new.is_stuck:
                self._end(active, Code.INVALID_ARGUMENT, WHY_STUCK, left=True)
        return [one for one in brought if not one[1].is_stuck]

    def _end_overdue(self) -> None:
        for active in list(self._active.values()):
            if active.work.revoked:
                self._end(active, Code.CANCELLED, "")
            elif active.is_over():
                self._end(active, Code.DEADLINE_EXCEEDED, "the deadline passed")

    # what becomes of tokens

    async def _keep(self, grown: Sequence[tuple[Active, NewToken]]) -> None:
        """Store what a step brought, and see to what the store says of each answer."""
        news = [new_tokens(active, new) for active, new in grown]
        answers = await self._append(news)
        for (active, new), added, appended in zip(grown, news, answers, strict=True):
            active.log += added.tokens
            active.counted = True
            active.proved = True
            if id(active.answer) in self._active:
                self._see_to(active, new, appended)
        if self._has_room():
            self._room.set()
        self._steps.stored()

    def _see_to(self, active: Active, new: NewToken, appended: Appended) -> None:
        if appended is Appended.FINE:
            if new.finish is not None:
                self._settle(active)
        elif appended is Appended.CANCELLED:
            self._end(active, Code.CANCELLED, "", left=new.finish is not None)
        else:
            self._let_go(active, left=new.finish is not None)
            if appended is Appended.OTHER:
                again = "the log of the answer was lost again and again"
                self._sink.retry(active.token, [active.id], again, _MOST_TRIES)
            else:
                self._renewal.release([active.id])

    async def _append(self, news: Sequence[NewTokens]) -> list[Appended]:
        """Store tokens, however long the store is away; computing waits meanwhile."""
        for attempt in count(1):
            try:
                return await self._logs.append(self._spec.ref.model, news)
            except (StoreUnavailable, OutOfMemory) as error:
                if attempt == 1:
                    log.warning("tokens cannot be stored, waiting", error=str(error))
                if self._draining:
                    # Whoever goes on computes them again.
                    return [Appended.LOST] * len(news)
                await asyncio.sleep(_STORE_BACKOFF.delay_s(attempt))
        raise AssertionError("there is always another try")

    def _settle(self, active: Active) -> None:
        self._let_go(active, left=True)
        outcome = Outcome(active.id, Code.OK, "", reply_of(active, self._spec))
        self._sink.settle(active.token, 1, active.timing(), [outcome])

    def _end(self, active: Active, code: Code, message: str, *, left: bool = False) -> None:
        self._let_go(active, left=left)
        self._sink.settle(active.token, 0, _NO_TIME, [Outcome(active.id, code, message, b"")])

    def _let_go(self, active: Active, *, left: bool) -> None:
        """Have it no more; *left*: the engine has let go of it by itself."""
        self._active.pop(id(active.answer), None)
        if not left:
            self._steps.evict(active.answer)
        if self._has_room():
            self._room.set()
