"""Queue policies: how many requests of a priority level may wait, for how long, and then what.

As in Triton each level has its own count of waiting requests and its own policy; the default one
holds for levels that `priority_queue_policy` does not name, and for models without levels. They are
noted in the steps of ensembles, too: what has no gateway in between goes by them alike. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from penstock.protos import cluster_pb2
from penstock.protos import model_config_pb2 as pb

COUNTED_BYTES: Final = 4096
"""From this size on a payload counts towards the limit of bytes: counting costs two commands, and
the number of jobs bounds what smaller ones take."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Most waiting jobs, and most bytes of live payloads, of one model version; 0 for any.

    Attributes:
        level: the priority level whose waiting jobs count; 0 for those of all.
        puts_off: a job that is not begun in time goes behind the others of its level; without it,
            it is refused.
    """

    jobs: int = 0
    payload_bytes: int = 0
    level: int = 0
    puts_off: bool = False


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """What holds for requests of one level.

    Attributes:
        timeout_us: microseconds that they may wait to be begun; 0 for their deadline alone.
        may_shorten: whether a request may ask for less than that.
    """

    limits: QueueLimits
    timeout_us: int
    may_shorten: bool

    @classmethod
    def of(cls, policy: pb.ModelQueuePolicy, level: int) -> "QueuePolicy":
        """The policy of *level*; 0 for a model without levels."""
        return cls(
            QueueLimits(
                jobs=policy.max_queue_size,
                level=level,
                puts_off=policy.timeout_action == pb.ModelQueuePolicy.DELAY,
            ),
            policy.default_timeout_microseconds,
            policy.allow_timeout_override,
        )


def default_policy(batching: pb.ModelDynamicBatching) -> QueuePolicy:
    """What holds for requests that ask for no level."""
    level = batching.default_priority_level
    return by_level(batching)[level] if level else QueuePolicy.of(batching.default_queue_policy, 0)


def by_level(batching: pb.ModelDynamicBatching) -> dict[int, QueuePolicy]:
    """Level -> its policy; empty without levels."""
    own = batching.priority_queue_policy
    return {
        level: QueuePolicy.of(own.get(level, batching.default_queue_policy), level)
        for level in range(1, batching.priority_levels + 1)
    }


def note(batching: pb.ModelDynamicBatching, step: cluster_pb2.RouteStep) -> None:
    """Write into *step* how its model's requests queue; `noted` reads it."""
    step.levels, step.default_level = batching.priority_levels, batching.default_priority_level
    step.ordered = batching.preserve_ordering
    _note_policy(batching.default_queue_policy, step)
    for level, own in batching.priority_queue_policy.items():
        _note_policy(own, step.own_policies[level])


def _note_policy(
    policy: pb.ModelQueuePolicy, into: cluster_pb2.RouteStep | cluster_pb2.LevelPolicy
) -> None:
    into.timeout_us = policy.default_timeout_microseconds
    into.may_shorten = policy.allow_timeout_override
    into.most_jobs = policy.max_queue_size
    into.puts_off = policy.timeout_action == pb.ModelQueuePolicy.DELAY


def noted(step: cluster_pb2.RouteStep, level: int) -> QueuePolicy:
    """What holds in *step* for requests of *level*; 0 for a model without levels."""
    policy: cluster_pb2.RouteStep | cluster_pb2.LevelPolicy = step
    if level in step.own_policies:
        policy = step.own_policies[level]
    return QueuePolicy(
        QueueLimits(jobs=policy.most_jobs, level=level, puts_off=policy.puts_off),
        policy.timeout_us,
        policy.may_shorten,
    )


def within(limits: QueueLimits, most: QueueLimits) -> tuple[QueueLimits, QueueLimits]:
    """*limits*, and no more than *most*, for payloads below `COUNTED_BYTES` and for others.

    A level without a limit of its own is bounded with all others together.
    """
    small = replace(
        limits,
        jobs=min(limits.jobs or most.jobs, most.jobs or limits.jobs),
        level=limits.level if limits.jobs else 0,
    )
    return small, replace(small, payload_bytes=most.payload_bytes)


def problems(batching: pb.ModelDynamicBatching) -> Iterator[str]:
    """What is wrong with levels, policies, and what they say together."""
    levels, default = batching.priority_levels, batching.default_priority_level
    if levels and not 1 <= default <= levels:
        yield f"default_priority_level must be between 1 and priority_levels ({levels})"
    if default and not levels:
        yield "default_priority_level needs priority_levels"
    for level in batching.priority_queue_policy:
        if not 1 <= level <= levels:
            yield (
                f"priority_queue_policy {level} must be between 1 and priority_levels ({levels})"
            )
    if not batching.preserve_ordering:
        return
    if levels > 1:
        yield "Only one priority level is allowed when 'preserve_ordering' is true"
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if any(policy.timeout_action == pb.ModelQueuePolicy.DELAY for policy in policies):
        yield ("Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true")
