"""Batch times: how long a worker takes for a batch of each size, while it has enough to do.

Measured from one batch's end to the next one's, so that what lies between them counts; a worker
that slept in between is measured from the claim that woke it.
"""

import asyncio
from typing import Final

import structlog

from penstock.errors import PenstockError
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.observe.queue_samples import write_batch_times

log = structlog.get_logger()

_COLD: Final = 3
"""The first batches of a size are not measured: memory is allocated, kernels are chosen."""

_SLOWER, _FASTER = 0.3, 0.5
_MOST_SIZES: Final = 64
_TELL_EVERY_S: Final = 0.25


class BatchTimes:
    """Seconds by rows of a batch, smoothed; what got faster is believed sooner."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._batches: dict[int, int] = {}
        self._since_s = 0.0
        self._fresh = asyncio.Event()

    def claimed(self, now_s: float) -> None:
        """Jobs came while the worker had none."""
        self._since_s = now_s

    def ended(self, rows: int, now_s: float) -> None:
        """A batch of *rows* rows has ended."""
        took_s, self._since_s = now_s - self._since_s, now_s
        seen = self._batches.get(rows, 0)
        self._batches[rows] = seen + 1
        if seen < _COLD:
            return
        known_s = self._seconds.get(rows, took_s)
        weight = _SLOWER if took_s > known_s else _FASTER
        self._seconds[rows] = known_s + weight * (took_s - known_s)
        self._fresh.set()

    @property
    def fresh(self) -> bool:
        """Whether something was measured since `take`."""
        return self._fresh.is_set()

    async def until_fresh(self) -> None:
        """Wait until something was measured since `take`."""
        await self._fresh.wait()

    def take(self) -> dict[int, float]:
        """Rows of a batch -> seconds; the largest sizes, if there are many."""
        self._fresh.clear()
        return dict(sorted(self._seconds.items())[-_MOST_SIZES:])


async def write_regularly(times: BatchTimes, queue: Queue, model: str, boot_id: str) -> None:
    """Write down what was measured, for gateways to read, until cancelled.

    At most four times a second.
    """
    while True:
        await asyncio.sleep(_TELL_EVERY_S)
        await times.until_fresh()
        try:
            await write_batch_times(queue, model, boot_id, times.take())
        except PenstockError as error:
            log.debug("the batch times cannot be written", error=str(error))
