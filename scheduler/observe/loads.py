"""Loads: what each stage has waiting and in work, for people and for metrics.

Reads are bounded and write nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.store import scripts
from penstock.scheduler.store.keys import PartitionKeys

_DEPTHS = scripts.load("depths")
_LEASES = scripts.load("leases")

MOST_LEASES: Final = 4096
"""Of one partition, that are looked at; the oldest claim may be among others."""


@dataclass(frozen=True, slots=True)
class Depth:
    """Waiting jobs of a stage, and how long the oldest of them has waited."""

    waiting: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class InWork:
    """Leased jobs of a stage, and for how long the oldest of them has been leased."""

    leases: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class Load:
    """Jobs of a stage that wait, and jobs that workers have, each with the age of the oldest.

    Attributes:
        oldest_lease_ms: since it was claimed; a healthy one is no older than a batch or two.
    """

    waiting: int = 0
    oldest_waiting_ms: int = 0
    leases: int = 0
    oldest_lease_ms: int = 0


async def loads_of(queue: Queue, revisions: Iterable[pb.ModelVersion]) -> dict[StageRef, Load]:
    """The load of each stage of *revisions*, without their revision ids."""
    refs = [
        StageRef(revision.model, revision.version, stage.index, revision.revision_id)
        for revision in revisions
        for stage in revision.stages
    ]
    return summed(*await asyncio.gather(depths_of(queue, refs), leases_of(queue, refs)))


async def depths_of(queue: Queue, refs: Sequence[StageRef]) -> dict[StageRef, Depth]:
    """How much waits for each of these stages."""
    groups: defaultdict[PartitionKeys, list[StageRef]] = defaultdict(list)
    for ref in refs:
        groups[queue.keys_of(ref.model)].append(ref)
    calls = (queue.call(keys, _DEPTHS, *(ref.queue for ref in groups[keys])) for keys in groups)
    found: dict[StageRef, Depth] = {}
    for group, answer in zip(groups.values(), await asyncio.gather(*calls), strict=True):
        depths = zip(answer[::2], answer[1::2], strict=True)
        found |= {ref: Depth(*depth) for ref, depth in zip(group, depths, strict=True)}
    return found


async def leases_of(queue: Queue, refs: Sequence[StageRef]) -> dict[StageRef, InWork]:
    """What is in work of these stages, but for those of which nothing is."""
    named = {ref.queue.encode(): ref for ref in refs}
    partitions = {queue.keys_of(ref.model) for ref in refs}
    found: dict[StageRef, InWork] = {}
    for answer in await asyncio.gather(*(queue.call(p, _LEASES, MOST_LEASES) for p in partitions)):
        triples = zip(answer[::3], answer[1::3], answer[2::3], strict=True)
        found |= {named[name]: InWork(*work) for name, *work in triples if name in named}
    return found


def summed(
    depths: Mapping[StageRef, Depth], in_work: Mapping[StageRef, InWork]
) -> dict[StageRef, Load]:
    """What revisions have, as what their stages have: jobs of all, the oldest of any."""
    found: dict[StageRef, Load] = {}
    for ref, depth in depths.items():
        stage, work = ref._replace(revision_id=""), in_work.get(ref, InWork(0, 0))
        other = found.get(stage, Load())
        found[stage] = Load(
            depth.waiting + other.waiting,
            max(depth.oldest_ms, other.oldest_waiting_ms),
            work.leases + other.leases,
            max(work.oldest_ms, other.oldest_lease_ms),
        )
    return found
