"""The work that this worker has done: added up, and written down for gateways to show."""

import asyncio
from typing import Final

import structlog

from penstock.errors import PenstockError
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.observe.work_done import WorkDone, write_work_done

log = structlog.get_logger()

_WRITE_EVERY_S: Final = 2.0


class WorkMeter:
    """Adds up what a worker does; costs one that rests nothing."""

    def __init__(self) -> None:
        self._done = WorkDone()
        self._fresh = asyncio.Event()

    def add(self, rows: int, took_s: float) -> None:
        """A batch ran, whatever came of it."""
        busy_s, batches, all_rows = self._done
        self._done = WorkDone(busy_s + took_s, batches + 1, all_rows + rows)
        self._fresh.set()

    async def take(self) -> WorkDone:
        """All that was done, once there is more of it than at the last call."""
        await self._fresh.wait()
        self._fresh.clear()
        return self._done


async def write_regularly(meter: WorkMeter, queue: Queue, model: str, boot_id: str) -> None:
    """Write down what was done, when there is more of it, until cancelled."""
    while True:
        done = await meter.take()
        try:
            await write_work_done(queue, model, boot_id, done)
        except PenstockError as error:
            log.debug("the work done cannot be written", error=str(error))
        await asyncio.sleep(_WRITE_EVERY_S)
