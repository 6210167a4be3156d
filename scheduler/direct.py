"""Direct jobs: those that a gateway hands to a sleeping worker beside it (ADR 0019).

They are in no queue; the store only counts them, a moment later.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import structlog

from penstock.errors import Code
from penstock.scheduler import scripts
from penstock.scheduler.conversation import Argument
from penstock.scheduler.jobs import Timing
from penstock.scheduler.keys import StageRef
from penstock.scheduler.queue import Queue

log = structlog.get_logger()

_NOTE_DIRECT = scripts.load("note_direct")

TELL_AFTER_S: Final = 0.02
"""How much later the store hears of jobs that have ended, unless somebody asks."""


class Noted(NamedTuple):
    """A direct job that has ended.

    Attributes:
        rows: items along the batch dimension; 1 for models without one.
        waited_us: microseconds from its gateway until it was begun.
        took_us: microseconds from its gateway until it ended.
    """

    code: Code
    rows: int
    waited_us: int
    took_us: int


class Notes:
    """Counts the direct jobs of one worker in the statistics of its model version."""

    def __init__(self, queue: Queue, ref: StageRef, worker: str) -> None:
        """*worker*: its boot id."""
        keys = queue.keys_of(ref.model)
        self._link = queue.link_of(ref.model)
        self._keys = f"{keys.stats}{ref.model}:{ref.version}", f"{keys.noted}{worker}"
        self._told = 0
        self._answered = 0
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._begin()

    def _begin(self) -> None:
        self._uncounted: list[tuple[int, Timing, Sequence[Noted]]] = []
        self._jobs = 0
        self._successes, self._success_us, self._failures, self._fail_us = 0, 0, 0, 0
        self._waited_us, self._rows = 0, 0
        self._input_ns, self._infer_ns, self._output_ns = 0, 0, 0
        self._batches: dict[int, list[int]] = {}

    def add(self, rows: int, timing: Timing, jobs: Sequence[Noted]) -> None:
        """Count jobs of a batch of *rows* rows, 0 if nothing was computed.

        As in Triton, the batch's time is the time of each of its jobs. It costs a lone caller no
        time: they are counted when the store is told.
        """
        self._uncounted.append((rows, timing, jobs))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_AFTER_S, self.tell)

    def _count(self, rows: int, timing: Timing, jobs: Sequence[Noted]) -> None:
        before = self._successes
        for code, rows_of_job, waited_us, took_us in jobs:
            if code is not Code.OK:
                self._failures += 1
                self._fail_us += took_us
                continue
            self._successes += 1
            self._success_us += took_us
            self._waited_us += waited_us
            self._rows += rows_of_job
        self._jobs += len(jobs)
        if (succeeded := self._successes - before) and rows:
            self._input_ns += succeeded * timing.input_ns
            self._infer_ns += succeeded * timing.infer_ns
            self._output_ns += succeeded * timing.output_ns
            batch = self._batches.setdefault(rows, [0, 0, 0, 0])
            batch[0] += 1
            batch[1] += timing.input_ns
            batch[2] += timing.infer_ns
            batch[3] += timing.output_ns

    def tell(self, then: Callable[[], None] | None = None) -> None:
        """Tell the store what was counted; it is on its way when this returns.

        What cannot be told for some seconds is not counted.

        Args:
            then: is called once the store has it, or cannot be told.
        """
        if self._timer is not None:
            self._send(self._timer)
        if then is None:
            return
        if self._answered == self._told:
            then()
        else:
            self._waiting.append((self._told, then))

    def _send(self, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._timer = None
        self._told += 1
        for batch in self._uncounted:
            self._count(*batch)
        words: list[Argument] = [self._told, self._jobs]
        words += self._successes, 1000 * self._success_us, self._failures, 1000 * self._fail_us
        words += 1000 * self._waited_us, self._input_ns, self._infer_ns, self._output_ns, self._rows
        for rows, batches in self._batches.items():
            words += rows, *batches
        self._begin()
        self._link.start(_NOTE_DIRECT, self._keys, words, self._hear)
        self._link.flush()

    def _hear(self, answer: Any) -> None:
        if isinstance(answer, Exception):
            log.debug("direct jobs were not counted", error=str(answer))
        self._answered += 1
        while self._waiting and self._waiting[0][0] <= self._answered:
            self._waiting.popleft()[1]()
