"""Members: which workers a head asks to be in its group. Pure."""

from collections.abc import Collection, Sequence

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import replica_of


def choose(
    own: pb.Worker,
    workers: Sequence[pb.Worker],
    stages: int,
    shunned: Collection[str],
    *,
    goes_far: bool = False,
) -> list[pb.Worker] | str:
    """One worker for each later stage, in order; or what the group waits for.

    Those that were placed together with this one come first, others of its machine after them: what
    is left of two groups there makes one. On other machines it asks nobody who was placed with
    another head: two groups that swapped stages once would go from machine to machine for ever.

    Args:
        own: the record of the head.
        workers: those that live.
        stages: how many the model has, the first one too.
        shunned: boot ids of those that could not be had lately; they come last.
        goes_far: the head reaches other machines.
    """
    chosen: list[pb.Worker] = []
    for stage in range(1, stages):
        there = [
            worker
            for worker in workers
            if _may_be(worker, own, stage) and _is_in_reach(worker, own, goes_far=goes_far)
        ]
        if not there:
            far = ", or of its own replica on another" if goes_far else ""
            return f"it waits for a worker of stage {stage} on its machine{far}"
        chosen.append(min(there, key=lambda worker: _rank(worker, own, shunned)))
    return chosen


def _may_be(worker: pb.Worker, own: pb.Worker, stage: int) -> bool:
    """Whether *worker* has that stage of the same content."""
    same = ("model", "version", "revision_id")
    return (
        worker.stage == stage
        and worker.state == pb.WORKER_STATE_READY
        and all(getattr(worker, name) == getattr(own, name) for name in same)
    )


def _is_in_reach(worker: pb.Worker, own: pb.Worker, *, goes_far: bool) -> bool:
    far_mate = goes_far and bool(worker.hop_address) and _is_mate(worker, own)
    return far_mate or _is_near(worker, own)


def _is_near(worker: pb.Worker, own: pb.Worker) -> bool:
    """Whether they are on one machine."""
    return worker.memory_domain == own.memory_domain


def _is_mate(worker: pb.Worker, own: pb.Worker) -> bool:
    """Whether they were placed together."""
    return replica_of(worker.id) == replica_of(own.id)


def _rank(
    worker: pb.Worker, own: pb.Worker, shunned: Collection[str]
) -> tuple[bool, bool, bool, bool, str]:
    return (
        worker.boot_id in shunned,
        not _is_mate(worker, own),
        not _is_near(worker, own),
        worker.node != own.node,
        worker.id,
    )
