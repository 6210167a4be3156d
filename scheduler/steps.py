"""Steps: jobs of ensembles on their way from one model's queue to another's.

What ends a step, counts it for its model, and queues the job for the next one, is one script.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from penstock.scheduler import scripts
from penstock.scheduler.beside import ADVANCED_TTL_MS, BESIDE, LARGE_BYTES, set_beside
from penstock.scheduler.conversation import Argument
from penstock.scheduler.jobs import Held, Move, Timing
from penstock.scheduler.keys import PartitionKeys, StageRef, partition_keys, partition_of
from penstock.scheduler.link import Link, Links

_FORWARD = scripts.load("forward")


class Destination(NamedTuple):
    """The queue of a step's model, and how many jobs may wait there; 0 for any."""

    ref: StageRef
    most_jobs: int


@dataclass(frozen=True, slots=True)
class Step:
    """What a batch was, and where its jobs go.

    Attributes:
        of: the stage whose worker ran it.
        rows: of the batch; 0 when it has been counted.
    """

    of: StageRef
    to: Destination
    rows: int
    timing: Timing


class Steps:
    """Moves jobs between the queues of models."""

    def __init__(self, links: Links, partitions: int) -> None:
        self._links = links
        self._partitions = partitions

    def forward(
        self, token: str, step: Step, moves: Sequence[Move], link: Link | None = None
    ) -> Awaitable[list[Held]]:
        """End a step of jobs, and queue them for the next; says for each what became of it.

        The call is on its way when this returns; its answer may be awaited later.

        Args:
            link: as for `Queue.settle`.
        """
        keys = self._keys_of(step.of.model)
        own, link = link is None, link or self._links.to(keys.tag)
        timing, to = step.timing, step.to.ref
        answer = link.call(
            _FORWARD,
            (
                keys.lease,
                keys.deadline,
                keys.volume,
                keys.ready + to.queue,
                keys.bells + to.queue,
                f"{keys.stats}{step.of.model}:{step.of.version}",
                f"{keys.stats}{to.model}:{to.version}",
                keys.jobs,
                keys.ended,
                keys.replies,
                keys.stats,
            ),
            (
                token,
                to.queue,
                step.to.most_jobs,
                step.rows,
                timing.input_ns,
                timing.infer_ns,
                timing.output_ns,
                *_words(keys, link, token, moves),
            ),
        )
        if own:
            link.flush()
        return _held(answer)

    def _keys_of(self, model: str) -> PartitionKeys:
        return partition_keys(partition_of(model, self._partitions))


def _words(keys: PartitionKeys, link: Link, token: str, moves: Sequence[Move]) -> list[Argument]:
    words: list[Argument] = []
    # Another name than the last one's: an owner that lost the job must not change it.
    where = f"{BESIDE}:{token}"
    for move in moves:
        words += (move.job, move.rows, move.priority, move.begin_within_ms)
        if len(move.payload) < LARGE_BYTES:
            words += (move.payload, 0, "")
        else:
            set_beside(link, keys.jobs + move.job + where, move.payload, ADVANCED_TTL_MS)
            words += (b"", len(move.payload), where)
    return words


async def _held(answer: Awaitable[list[int]]) -> list[Held]:
    return [Held(value) for value in await answer]
