"""Preemption: which answer makes room for one that is more urgent. Pure.

It loses nothing: the job waits again with its log, and whoever has room goes on from there.
"""

from collections.abc import Sequence

from penstock.scheduler.jobs.types import Urgency


def to_preempt(waiting: Urgency | None, held: Sequence[Urgency | None]) -> int | None:
    """The place in *held* of the answer that makes room for the job that waits first.

    It is one of the last level, if that comes behind the waiting one's; of several the one whose
    deadline is last. Deadlines alone preempt nothing: each job would push out the one before.
    """
    last = max((one for one in held if one is not None), default=None)
    if waiting is None or last is None or last.level <= waiting.level:
        return None
    return held.index(last)
