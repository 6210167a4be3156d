"""Results of jobs: written to the queue, however long Redis is away.

The write leaves in the same event-loop turn in which the batch ended, before the next claim. What
cannot be written is not lost: the lease ends, and another worker has the job.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from penstock.errors import Code, PenstockError, StoreUnavailable
from penstock.scheduler.jobs.handoff import Destination, Step
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import Held, Lease, Move, Outcome, Timing
from penstock.scheduler.store.link import Link
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.run import encoding
from penstock.workers.run.ensemble_step import EnsembleStep, Tensors
from penstock.workers.run.execution import Failure, Ran, Result
from penstock.workers.run.work import Work
from penstock.workers.serve.spec import WorkerSpec

log = structlog.get_logger()

NO_TIME: Final = Timing()
_RETRY_DELAY_MS: Final = 50
_PERSIST_S = 60.0

Write = Callable[[], Awaitable[list[Held]]]


class ResultSink(Protocol):
    """Who handed jobs to the worker, and hears what becomes of them."""

    def settle(self, rows: int, timing: Timing, outcomes: Sequence[Outcome]) -> None:
        """Jobs of a batch of *rows* rows have ended."""

    def leave(self, jobs: Sequence[str]) -> None:
        """Jobs were not begun, or need another try."""

    def break_off(self) -> None:
        """The device broke while it had the jobs that are left: one may have been the reason."""


class JobResults:
    """Settles, passes on and gives back the jobs of one worker.

    Attributes:
        sinks: by token, of jobs that did not come from the queue; None of those whose
            sink is gone.
    """

    def __init__(self, spec: WorkerSpec, queue: Queue, link: Link, renewal: Renewal) -> None:
        """*link*: the one for claims; it is not blocked while anything runs."""
        self._spec = spec
        self._link = link
        self._queue = queue
        self._renewal = renewal
        self._writing: set[asyncio.Task[None]] = set()
        self._abandoned: list[Work] = []
        self._no_state = None if spec.states is None else b""
        self.sinks: dict[str, ResultSink | None] = {}

    def finish(self, batch: Sequence[Work], ran: Ran, rows: int = 0) -> None:
        """Settle each job of a batch of *rows* rows, or pass it on."""
        claims: dict[str, list[tuple[Work, Result]]] = {}
        for pair in zip(batch, ran.results, strict=True):
            claims.setdefault(pair[0].lease.token, []).append(pair)
        for token, group in claims.items():
            over: list[Work] = []
            outcomes: list[Outcome] = []
            advanced: list[Work] = []
            payloads: list[tuple[str, bytes]] = []
            forwarded: dict[Destination, list[tuple[Work, Move]]] = {}
            for work, result in group:
                if isinstance(result, Failure) or work.revoked:
                    over.append(work)
                    outcomes.append(self._failure(work, result))
                elif not self._spec.last:
                    advanced.append(work)
                    payloads.append((work.lease.id, self._next_stage(work, result)))
                elif work.ensemble_step is None or work.ensemble_step.next_step is None:
                    over.append(work)
                    outcomes.append(self._success(work, result))
                else:
                    to, move = self._next_step(work, work.ensemble_step, result)
                    forwarded.setdefault(to, []).append((work, move))
            for to, moves in forwarded.items():
                self._forward(token, to, rows, ran.timing, moves)
                rows = 0
            if payloads:
                self._advance(token, ran.timing, payloads, advanced)
            if outcomes:
                self._settle(token, rows, ran.timing, outcomes, over)
            # The batch is counted once, whatever claims its jobs came from.
            rows = 0

    def refuse(self, lease: Lease, error: PenstockError) -> None:
        """End a job that cannot even be read."""
        outcome = Outcome(lease.id, error.code, str(error), b"", self._no_state)
        self._settle(lease.token, 0, NO_TIME, [outcome], ())

    def end(self, work: Work, outcome: Outcome, rows: int, timing: Timing) -> None:
        """Settle the only job of a batch of *rows* rows."""
        self._settle(work.lease.token, rows, timing, [outcome], [work])

    def give_back(self, works: Iterable[Work]) -> None:
        """Return jobs that were not begun."""
        for token, group in _by_token(works):
            ids = [work.lease.id for work in group]
            if token in self.sinks:
                self._leave(token, ids)
                continue
            write = partial(self._queue.give_back, self._spec.ref.model, token, ids)
            self._begin(write, group)

    def retry(self, works: Iterable[Work], why: str, most: int) -> None:
        """Return jobs for another try, elsewhere or later; the last of *most* fails them."""
        for token, group in _by_token(works):
            ids = [work.lease.id for work in group]
            if token in self.sinks:
                self._leave(token, ids)
                continue
            again = partial(self._queue.retry, self._spec.ref.model, token, ids)
            write = partial(again, delay_ms=_RETRY_DELAY_MS, most=most, why=why)
            self._begin(write, group)

    def abandon(self, works: Iterable[Work]) -> None:
        """The device broke while it had *works*, its own until `release_abandoned`.

        That marks them, as a worker's death would.
        """
        self._abandoned += works

    async def release_abandoned(self) -> None:
        """Let others have what is abandoned, each job alone; once all else is written."""
        tokens = {work.lease.token for work in self._abandoned}
        for token in tokens.intersection(self.sinks):
            sink = self.sinks[token]
            if sink is not None:
                sink.break_off()
        if tokens.difference(self.sinks):
            # If there is no store, the node does it, or the lease ends.
            with contextlib.suppress(PenstockError):
                await self._queue.release_leases_of(self._spec.ref.model, self._spec.boot_id)

    async def written(self) -> None:
        """Wait until everything is written, or given up."""
        if self._writing:
            await asyncio.wait(self._writing)

    def _failure(self, work: Work, result: Result) -> Outcome:
        if work.revoked or not isinstance(result, Failure):
            return Outcome(work.lease.id, Code.CANCELLED, "", b"", self._no_state)
        message = (
            result.message
            if work.ensemble_step is None
            else work.ensemble_step.told(result.message)
        )
        return Outcome(work.lease.id, result.code, message, b"", self._no_state)

    def _success(self, work: Work, result: Tensors) -> Outcome:
        spec, step = self._spec, work.ensemble_step
        if step is None:
            body = encoding.reply(work, result, spec.keeps, spec.ref.version, spec.hop_name)
        else:
            tensors = step.map_outputs(work.ensemble_tensors, result, work.tensors)
            body = encoding.reply(
                work, tensors, step.outputs, step.version, self._hop_name_of(step)
            )
        state = None if spec.states is None else encoding.state_after(work, result, spec.states)
        return Outcome(work.lease.id, Code.OK, "", body, state)

    def _next_stage(self, work: Work, result: Tensors) -> bytes:
        spec, step = self._spec, work.ensemble_step
        if step is None:
            return encoding.next_payload(work, result, spec.keeps, spec.hop_name)
        tensors = step.between(work.ensemble_tensors, result, work.tensors, spec.keeps)
        return encoding.next_payload(work, tensors, tuple(tensors), self._hop_name_of(step))

    def _next_step(
        self, work: Work, step: EnsembleStep, result: Tensors
    ) -> tuple[Destination, Move]:
        tensors = step.map_outputs(work.ensemble_tensors, result, work.tensors)
        keeps, hop_name = tuple(step.route_step.keeps), self._hop_name_of(step)
        payload = encoding.next_payload(work, tensors, keeps, hop_name, step.rest_of_route)
        return step.move(work.lease.id, work.head, tensors, payload)

    def _hop_name_of(self, step: EnsembleStep) -> str:
        return f"{step.route_step.model} {self._spec.hop_name}"

    def _forward(
        self,
        token: str,
        to: Destination,
        rows: int,
        timing: Timing,
        moves: Sequence[tuple[Work, Move]],
    ) -> None:
        works = [work for work, _ in moves]
        step = Step(self._spec.ref, to, rows, timing)
        forward = partial(self._queue.steps.forward, token, step, [move for _, move in moves])
        # The first try leaves together with the next claim.
        self._begin(forward, works, first=partial(forward, link=self._link))

    def _settle(
        self,
        token: str,
        rows: int,
        timing: Timing,
        outcomes: Sequence[Outcome],
        works: Sequence[Work],
    ) -> None:
        if token in self.sinks:
            sink = self.sinks[token]
            if sink is not None:
                sink.settle(rows, timing, outcomes)
            return
        settle = partial(self._queue.settle, token, self._spec.ref, rows, timing, outcomes)
        # The first try leaves together with the next claim.
        self._begin(settle, works, first=partial(settle, link=self._link))

    def _leave(self, token: str, jobs: Sequence[str]) -> None:
        sink = self.sinks[token]
        if sink is not None:
            sink.leave(jobs)

    def _advance(
        self,
        token: str,
        timing: Timing,
        moves: Sequence[tuple[str, bytes]],
        works: Sequence[Work],
    ) -> None:
        following = self._spec.ref._replace(stage=self._spec.ref.stage + 1)
        self._begin(partial(self._queue.advance, token, following, timing, moves), works)

    def _begin(self, write: Write, works: Sequence[Work], first: Write | None = None) -> None:
        task = asyncio.create_task(self._persist((first or write)(), write, works))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _persist(
        self, first: Awaitable[list[Held]], write: Write, works: Sequence[Work]
    ) -> None:
        """Write until it is done; *first* is the first try, which is under way."""
        give_up_s = time.monotonic() + _PERSIST_S
        try:
            trying = first
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
            self._renewal.release(works)


def _by_token(works: Iterable[Work]) -> Iterable[tuple[str, list[Work]]]:
    """*works* by the claim that they came from."""
    claims: dict[str, list[Work]] = {}
    for work in works:
        claims.setdefault(work.lease.token, []).append(work)
    return claims.items()
