"""Watching: what of a queue tells whether it is well, for people and for metrics.

Reads are bounded and write nothing. What processes count themselves is added to the statistics
that the scripts keep (`statistics`).
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.store import scripts
from penstock.scheduler.store.keys import PartitionKeys, StageRef

_LEASES = scripts.load("leases")

MOST_LEASES: Final = 4096
"""Of one partition, that are looked at; the oldest claim may be among others."""


@dataclass(frozen=True, slots=True)
class InWork:
    """Leased jobs of a stage, and for how long the oldest of them has been leased."""

    leases: int
    oldest_ms: int


async def leases_of(queue: Queue, refs: Iterable[StageRef]) -> dict[StageRef, InWork]:
    """What is in work of these stages, but for those of which nothing is."""
    named = {ref.queue: ref for ref in refs}
    partitions: dict[str, PartitionKeys] = {}
    links = {}
    for ref in named.values():
        keys = queue.keys_of(ref.model)
        partitions[keys.tag], links[keys.tag] = keys, queue.link_of(ref.model)
    answers = await asyncio.gather(
        *(links[tag].call(_LEASES, keys.prefix, (MOST_LEASES,)) for tag, keys in partitions.items())
    )
    found: dict[StageRef, InWork] = {}
    for answer in answers:
        for name, leases, oldest_ms in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
            known = named.get(name.decode())
            if known is not None:
                found[known] = InWork(leases, oldest_ms)
    return found


async def add_counts(queue: Queue, model: str, version: int, counts: Mapping[str, int]) -> None:
    """Add to the statistics of a model version; twice where an answer is lost."""
    key = f"{queue.keys_of(model).stats}{model}:{version}"
    link = queue.link_of(model)
    await asyncio.gather(
        *(link.submit("HINCRBY", key, name, count) for name, count in counts.items())
    )
