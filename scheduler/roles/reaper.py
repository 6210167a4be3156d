"""The reaper: calls the reap script for every partition, again and again.

It also carries on jobs that got stuck on their way from one partition to another
(jobs/handoff.py). Any number of processes may do all of it, without a lock and without a leader: a
move that was made is not made twice. No partition waits for another one, whose server may be away.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import product

import structlog

from penstock.process.supervised import regularly
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import Reaped

log = structlog.get_logger()

_MOST = 100


class Reaper:
    """Reaps all partitions of a queue at a fixed interval."""

    def __init__(self, queue: Queue, *, interval_s: float = 0.25) -> None:
        self._queue = queue
        self._interval_s = interval_s

    async def run(self) -> None:
        """Reap until cancelled; an outage of Redis is waited out."""
        steps: list[Callable[[int], Awaitable[object]]] = [self._reap]
        if self._queue.partitions > 1:
            steps.append(self._queue.steps.carry_stranded)
        async with asyncio.TaskGroup() as tasks:
            for step, partition in product(steps, range(self._queue.partitions)):
                look = partial(step, partition)
                looking = regularly(self._interval_s, look, "reaping failed", partition=partition)
                tasks.create_task(looking)

    async def _reap(self, partition: int) -> None:
        while True:
            reaped = await self._queue.reap(partition, most=_MOST)
            if reaped != Reaped(0, 0, 0, 0, 0):
                log.info(
                    "reaped",
                    partition=partition,
                    requeued=reaped.requeued,
                    dead=reaped.dead,
                    expired=reaped.expired,
                    orphaned=reaped.orphaned,
                )
            if max(reaped.requeued, reaped.expired, reaped.retried, reaped.orphaned) < _MOST:
                return
