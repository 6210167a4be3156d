"""Queue policies: how many requests of a priority level may wait, for how long, and then what.

As in Triton each level has its own count of waiting requests and its own policy; the default one
holds for levels that `priority_queue_policy` does not name, and for models without levels. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.protos import model_config_pb2 as pb
from penstock.scheduler.jobs import QueueLimits


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
