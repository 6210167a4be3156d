"""Direct jobs: those that a gateway hands to a sleeping worker beside it (ADR 0019).

They are in no queue; the store only counts them, a moment later.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from operator import add
from typing import Any, Final, NamedTuple

import structlog

from penstock.errors import Code
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.spread import Buckets
from penstock.scheduler.jobs.types import Timing
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument

log = structlog.get_logger()

_NOTE_DIRECT = scripts.load("note_direct")

SEND_AFTER_S: Final = 0.02
"""How much later the store hears of jobs that have ended, unless somebody asks."""


class EndedJob(NamedTuple):
    """A direct job that has ended.

    Attributes:
        rows: items along the batch dimension; 1 for models without one.
        waited_us: microseconds from its gateway until it was begun.
        took_us: microseconds from its gateway until it ended.
        caller: the team whose request it was; empty for anybody's.
        size: bytes of request and reply.
    """

    code: Code
    rows: int
    waited_us: int
    took_us: int
    caller: str = ""
    size: int = 0


_Batch = tuple[int, Timing, Sequence[EndedJob]]
"""Its rows, its time, and its jobs."""


class DirectCounters:
    """Counts the direct jobs of one worker in the statistics of its model version."""

    def __init__(self, queue: Queue, ref: StageRef, worker: str) -> None:
        """*worker*: its boot id."""
        self._link = queue.link_of(ref.model)
        self._prefix = queue.keys_of(ref.model).prefix
        self._of = worker, f"{ref.model}:{ref.version}"
        self._sent = 0
        self._answered = 0
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._uncounted: list[_Batch] = []

    def add(self, rows: int, timing: Timing, jobs: Sequence[EndedJob]) -> None:
        """Count jobs of a batch of *rows* rows, 0 if nothing was computed.

        As in Triton, the batch's time is the time of each of its jobs. It costs a lone caller no
        time: they are counted when the store is told.
        """
        self._uncounted.append((rows, timing, jobs))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SEND_AFTER_S, self.send)

    def send(self, then: Callable[[], None] | None = None) -> None:
        """Tell the store what was counted; it is on its way when this returns.

        What cannot be told for some seconds is not counted.

        Args:
            then: is called once the store has it, or cannot be told.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._sent += 1
            batches, self._uncounted = self._uncounted, []
            words: list[Argument] = [*self._of, self._sent, *_totals(batches)]
            self._link.start(_NOTE_DIRECT, self._prefix, words, self._hear)
        if then is None:
            return
        if self._answered == self._sent:
            then()
        else:
            self._waiting.append((self._sent, then))

    def _hear(self, answer: Any) -> None:
        if isinstance(answer, Exception):
            log.debug("direct jobs were not counted", error=str(answer))
        self._answered += 1
        while self._waiting and self._waiting[0][0] <= self._answered:
            self._waiting.popleft()[1]()


def _usage(batches: Iterable[_Batch]) -> list[Argument]:
    """How many callers there were, and what each has had, as lua/lib/usage.lua counts it."""
    used: dict[str, list[float]] = {}
    for rows, timing, ended in batches:
        for job in ended:
            if not job.caller:
                continue
            had: Sequence[float] = (0, 1, 0, 0, 0, 0)
            if job.code is Code.OK:
                device_us = timing.infer_ns / 1000 * job.rows / rows if rows else 0
                had = (1, 0, job.rows, job.size, job.waited_us, device_us)
            used[job.caller] = list(map(add, used.get(job.caller, (0, 0, 0, 0, 0, 0)), had))
    words: list[Argument] = [len(used)]
    for caller, sums in used.items():
        words += (caller, *sums)
    return words


def _totals(batches: Sequence[_Batch]) -> list[Argument]:
    """What lua/note_direct.lua takes of *batches*."""
    jobs = successes = success_us = failures = fail_us = waited_us = rows_of_all = 0
    times = Timing()
    sizes: dict[int, list[int]] = {}
    buckets = Buckets()
    for rows, timing, ended in batches:
        jobs += len(ended)
        succeeded = 0
        for code, rows_of_job, job_waited_us, took_us, _, _ in ended:
            if code is not Code.OK:
                failures += 1
                fail_us += took_us
                continue
            succeeded += 1
            success_us += took_us
            waited_us += job_waited_us
            buckets.add(took_us, job_waited_us)
            rows_of_all += rows_of_job
        successes += succeeded
        if succeeded and rows:
            times = Timing(*(a + succeeded * b for a, b in zip(times, timing, strict=True)))
            sizes[rows] = list(map(add, sizes.get(rows, (0, 0, 0, 0)), (1, *timing)))
    words: list[Argument] = [jobs, successes, 1000 * success_us, failures, 1000 * fail_us]
    words += 1000 * waited_us, *times, rows_of_all
    words += _usage(batches)
    words += buckets.words()
    for rows, counted in sizes.items():
        words += rows, *counted
    return words
