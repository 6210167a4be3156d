"""When a request would be answered, from what waits before it and measured times. Pure.

It errs on the side of taking the request wherever something is not known: a stage that nobody has
measured, a batch size that has not run yet, a queue that was read too long ago.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.scheduler.observe.queue_samples import Waiting, score_of

FRESH_S: Final = 1.0
"""A queue that was read longer ago than this says nothing."""

_BATCHES: Final = 2.0
"""Beside what waits: the batch that runs, and the request's own."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast the workers of a stage are: jobs in a second, and seconds for a batch."""

    jobs_per_s: float
    batch_s: float


def speed_of(
    batch_times: Sequence[Mapping[int, float]], most_rows: int, rows: float
) -> Speed | None:
    """The speed of a stage's live workers together; None while none of them is measured.

    Args:
        batch_times: of each worker: rows of a batch -> seconds; empty where it is not known, which
            is then taken for the fastest that is.
        most_rows: that share a batch; 0 where jobs run one by one.
        rows: of a job, on the average.
    """
    wanted = most_rows or rows
    known = [_batch_s(times, wanted) for times in batch_times if times]
    if not known:
        return None
    fastest_s = min(known)
    times_s = known + [fastest_s] * (len(batch_times) - len(known))
    jobs = max(1.0, most_rows / max(rows, 1.0))
    return Speed(sum(jobs / took_s for took_s in times_s), fastest_s)


def _batch_s(times: Mapping[int, float], rows: float) -> float:
    """What a batch of so many rows takes at least: as long as the largest that is no larger."""
    smaller = [size for size in times if size <= rows]
    return max(1e-6, times[max(smaller)] if smaller else min(times.values()))


@dataclass(frozen=True, slots=True)
class QueueSample:
    """What waits for a stage, and how fast it is worked off."""

    waiting: Waiting
    speed: Speed

    def ahead(self, score: float) -> float:
        """How many jobs wait before one of this score; at most a gap between marks too few."""
        marks = self.waiting.marks
        place = bisect_left(marks, score)
        if place in (0, len(marks)):
            return self.waiting.jobs if place else 0
        return 1 + (place - 1) * (self.waiting.jobs - 1) / (len(marks) - 1)


class Caution:
    """How much longer than measured everything is taken to last, so that who joins is in time.

    Requests that joined and were late raise it, at most so often, since they come in crowds; with
    time it falls back.
    """

    LEAST: Final = 1.1
    MOST: Final = 2.5
    _RAISE, _PAUSE_S, _FALL_PER_S = 1.15, 0.5, 0.98

    def __init__(self) -> None:
        self._safety = self.LEAST
        self._at_s = self._raised_s = -math.inf

    def safety(self, late: int, now_s: float) -> float:
        """The factor now, after *late* more requests were late."""
        if self._at_s > -math.inf:
            fallen = self._safety * self._FALL_PER_S ** (now_s - self._at_s)
            self._safety = max(self.LEAST, fallen)
        self._at_s = now_s
        if late and now_s - self._raised_s >= self._PAUSE_S:
            self._raised_s = now_s
            self._safety = min(self.MOST, self._safety * self._RAISE)
        return self._safety


class Forecast:
    """The queue of one model version, and what this gateway has sent there since."""

    def __init__(
        self,
        stages: Sequence[QueueSample | None],
        taken_s: float,
        gateways: int = 1,
        safety: float = 1.0,
    ) -> None:
        """Of *stages* in order, None where nothing waits or nothing is known.

        Args:
            taken_s: when it was read, on this process's clock.
            gateways: that share what becomes free until it is read again.
            safety: everything is taken to last so many times as long.
        """
        self._safety = safety
        self._stages = [one for one in stages if one is not None]
        self._first = stages[0] if stages else None
        self._taken_s = taken_s
        self._share = 1 / max(1, gateways)
        self._entered: list[float] = []

    def score(self, priority: int, remaining_s: float, now_s: float) -> float:
        """Where a request would be in the order of the queues."""
        now_ms = self._stages[0].waiting.now_ms
        return score_of(priority, now_ms + (now_s - self._taken_s + remaining_s) * 1000)

    def ahead(self, score: float) -> int:
        """How many jobs waited before one of this score when the first queue was read."""
        return int(self._first.ahead(score)) if self._first else 0

    def answered_after_s(self, score: float, now_s: float) -> float:
        """Seconds until a request of this score would be answered; 0 when nothing is before it."""
        elapsed_s = now_s - self._taken_s
        longest_s = 0.0
        if elapsed_s > FRESH_S:
            return longest_s
        for stage in self._stages:
            ahead = stage.ahead(score) - elapsed_s * stage.speed.jobs_per_s * self._share
            if stage is self._first:
                ahead += bisect_left(self._entered, score)
            if ahead > 0:
                after_s = ahead / stage.speed.jobs_per_s + _BATCHES * stage.speed.batch_s
                longest_s = max(longest_s, self._safety * after_s)
        return longest_s

    def enter(self, score: float) -> None:
        """A request of this score has been sent."""
        insort(self._entered, score)
