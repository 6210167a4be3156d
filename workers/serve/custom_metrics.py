"""Custom metrics of the worker's model, written down for gateways to show."""

import asyncio

import structlog

from penstock.errors import PenstockError
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.observe.custom_metrics import (
    WRITE_EVERY_S,
    CustomFamily,
    write_custom_metrics,
)
from penstock.workers.runtimes.triton_python import metrics

log = structlog.get_logger()


async def write_metrics(queue: Queue, model: str, boot_id: str) -> None:
    """Write down what the model's code has counted, if it counts, until cancelled."""
    while True:
        await asyncio.sleep(WRITE_EVERY_S)
        families = [
            CustomFamily(one.name, one.description, one.kind.name.lower(), metrics.samples_of(one))
            for one in metrics.families()
        ]
        if not families:
            continue
        try:
            await write_custom_metrics(queue, model, boot_id, families)
        except PenstockError as error:
            log.debug("the custom metrics cannot be written", error=str(error))
