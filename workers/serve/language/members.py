"""Members: which workers a head asks to be in its group. Pure."""

from collections.abc import Collection, Sequence

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import replica_of


def choose(
    own: pb.Worker, workers: Sequence[pb.Worker], stages: int, shunned: Collection[str]
) -> list[pb.Worker] | str:
    """One worker for each later stage, in order; or what the group waits for.

    Those that were placed together with this one come first, others after them: what is left of
    two groups makes one.

    Args:
        own: the record of the head.
        workers: those that live.
        stages: how many the model has, the first one too.
        shunned: boot ids of those that could not be had lately; they come last.
    """
    chosen: list[pb.Worker] = []
    for stage in range(1, stages):
        there = [worker for worker in workers if _may_be(worker, own, stage)]
        if not there:
            return f"it waits for a worker of stage {stage} on its machine"
        chosen.append(min(there, key=lambda worker: _rank(worker, own, shunned)))
    return chosen


def _may_be(worker: pb.Worker, own: pb.Worker, stage: int) -> bool:
    """Whether *worker* has that stage of the same content, where a hop can reach it."""
    same = ("model", "version", "revision_id", "memory_domain")
    return (
        worker.stage == stage
        and worker.state == pb.WORKER_STATE_READY
        and all(getattr(worker, name) == getattr(own, name) for name in same)
    )


def _rank(
    worker: pb.Worker, own: pb.Worker, shunned: Collection[str]
) -> tuple[bool, bool, bool, str]:
    return (
        worker.boot_id in shunned,
        worker.node != own.node,
        replica_of(worker.id) != replica_of(own.id),
        worker.id,
    )
