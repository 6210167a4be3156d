"""Work done: how long each worker has been busy, from the worker to whoever shows it.

A worker writes it down when it has worked, every two seconds at most; it lasts for an hour.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.store.keys import PartitionKeys

_LIFE_MS: Final = 3_600_000


class WorkDone(NamedTuple):
    """What a worker has done since it began.

    Attributes:
        busy_s: seconds in which batches ran.
        rows: of these batches, together.
    """

    busy_s: float = 0.0
    batches: int = 0
    rows: int = 0


async def write_work_done(queue: Queue, model: str, boot_id: str, done: WorkDone) -> None:
    """Write down what a worker of *model* has done."""
    key = queue.keys_of(model).work_done + boot_id
    text = json.dumps(done._asdict())
    await queue.link_of(model).command("SET", key, text, "PX", _LIFE_MS)


async def work_done_of(queue: Queue, workers: Iterable[pb.Worker]) -> dict[str, WorkDone]:
    """What each of *workers* has done, by the worker's id; those that rest long are left out."""
    texts = await texts_of(queue, workers, lambda keys: keys.work_done)
    return {worker: _work_done(text) for worker, text in texts.items()}


async def texts_of(
    queue: Queue, workers: Iterable[pb.Worker], family: Callable[[PartitionKeys], str]
) -> dict[str, bytes]:
    """What each of *workers* has written under its boot id, by its id; without those that have not.

    Args:
        family: of the keys that have it.
    """
    by_partition: defaultdict[PartitionKeys, list[pb.Worker]] = defaultdict(list)
    for worker in workers:
        by_partition[queue.keys_of(worker.model)].append(worker)
    asked = (
        queue.link_to(keys).command("MGET", *(family(keys) + worker.boot_id for worker in group))
        for keys, group in by_partition.items()
    )
    found: dict[str, bytes] = {}
    for group, texts in zip(by_partition.values(), await asyncio.gather(*asked), strict=True):
        found |= {worker.id: text for worker, text in zip(group, texts, strict=True) if text}
    return found


def _work_done(text: bytes) -> WorkDone:
    """What a worker wrote, which may be of a later release."""
    found = json.loads(text)
    return WorkDone(**{name: found.get(name, 0) for name in WorkDone._fields})
