"""Work done: how long each worker has been busy, from the worker to whoever shows it.

A worker writes it down when it has worked, every two seconds at most; it lasts for an hour.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.queue import Queue

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
    by_start: defaultdict[str, list[pb.Worker]] = defaultdict(list)
    for worker in workers:
        by_start[queue.keys_of(worker.model).work_done].append(worker)
    found: dict[str, WorkDone] = {}
    asked = (_read(queue, start, group) for start, group in by_start.items())
    for part in await asyncio.gather(*asked):
        found |= part
    return found


async def _read(queue: Queue, start: str, workers: Sequence[pb.Worker]) -> dict[str, WorkDone]:
    link = queue.link_of(workers[0].model)
    texts = await link.command("MGET", *(start + worker.boot_id for worker in workers))
    pairs = zip(workers, texts, strict=True)
    return {worker.id: _work_done(text) for worker, text in pairs if text}


def _work_done(text: bytes) -> WorkDone:
    """What a worker wrote, which may be of a later release."""
    found = json.loads(text)
    return WorkDone(**{name: found.get(name, 0) for name in WorkDone._fields})
