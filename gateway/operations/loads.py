"""What each stage of a version has waiting and in work, over all contents that it has now."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import Depth
from penstock.scheduler.observe.in_work import InWork, leases_of


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


async def loads_of(queue: Queue, contents: Iterable[pb.ModelVersion]) -> dict[StageRef, Load]:
    """The load of each stage of *contents*, without their generations."""
    refs = [
        StageRef(content.model, content.version, stage.index, content.generation)
        for content in contents
        for stage in content.stages
    ]
    return summed(*await asyncio.gather(queue.depths(refs), leases_of(queue, refs)))


def summed(
    depths: Mapping[StageRef, Depth], in_work: Mapping[StageRef, InWork]
) -> dict[StageRef, Load]:
    """What generations have, as what their stages have: jobs of all, the oldest of any."""
    found: dict[StageRef, Load] = {}
    for ref, depth in depths.items():
        stage, work = ref._replace(generation=""), in_work.get(ref, InWork(0, 0))
        other = found.get(stage, Load())
        found[stage] = Load(
            depth.waiting + other.waiting,
            max(depth.oldest_ms, other.oldest_waiting_ms),
            work.leases + other.leases,
            max(work.oldest_ms, other.oldest_lease_ms),
        )
    return found
