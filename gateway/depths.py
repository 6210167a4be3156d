"""Depths: how many jobs wait for a stage of a version, over all contents that it has now."""

from collections.abc import Iterable, Mapping

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs import Depth
from penstock.scheduler.keys import StageRef
from penstock.scheduler.queue import Queue


async def depths_of(queue: Queue, contents: Iterable[pb.ModelVersion]) -> dict[StageRef, Depth]:
    """The depth of each stage of *contents*, without their generations."""
    refs = [
        StageRef(content.model, content.version, stage.index, content.generation)
        for content in contents
        for stage in content.stages
    ]
    return summed(await queue.depths(refs))


def summed(depths: Mapping[StageRef, Depth]) -> dict[StageRef, Depth]:
    """*depths* of generations, as those of their stages: jobs of all, the oldest of any."""
    found: dict[StageRef, Depth] = {}
    for ref, depth in depths.items():
        stage = ref._replace(generation="")
        other = found.get(stage, Depth(0, 0))
        oldest_ms = max(depth.oldest_ms, other.oldest_ms)
        found[stage] = Depth(depth.waiting + other.waiting, oldest_ms)
    return found
