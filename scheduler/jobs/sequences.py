"""Turns: the requests of sequences, one after another, on their way into and out of the queue.

The order, and the state that goes from one to the next, are kept in Redis beside the jobs
(lua/lib/sequence.lua, ADR 0015).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from penstock.errors import InvalidRequest
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.enqueue_batches import BatchKey, Entry
from penstock.scheduler.jobs.payloads import first_words
from penstock.scheduler.jobs.types import Turn
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument
from penstock.scheduler.store.keys import PartitionKeys
from penstock.scheduler.store.link import Link

_ENQUEUE = scripts.load("enqueue_turns")

NOT_STARTED: Final = -3
"""What enqueue_turns answers to a request that begins no sequence, and continues none."""


class SequenceNotStarted(InvalidRequest):
    """The request begins no sequence, and there is none that it could continue."""

    def __init__(self, model: str, turn: Turn) -> None:
        super().__init__(
            f"inference request for sequence {turn.id} to model '{model}' must specify the START "
            "flag on the first request of the sequence"
        )


def enqueue_turns(
    link: Link,
    keys: PartitionKeys,
    batch: BatchKey,
    entries: Sequence[Entry],
    told: Callable[[Any], None],
) -> None:
    """Send *entries*, all of which have a turn, in one call; *told* gets its answer."""
    ref, limits = batch.ref, batch.limits
    # All are for one version: they differ at most by what it said of itself a moment ago.
    terms = _turn(entries[-1]).terms
    words: list[Argument] = [batch.gateway, ref.queue, limits.jobs, limits.payload_bytes]
    words += (terms.slots, terms.idle_ms)
    words.append(terms.initial if any(_turn(entry).starts for entry in entries) else b"")
    for entry in entries:
        job, turn = entry[0], _turn(entry)
        words += (job.id, job.priority, job.rows, job.ttl_ms, job.begin_within_ms)
        # Never set beside twice: the state may be behind it already.
        words += first_words(link, keys.jobs, job, once=True)
        words += (turn.sequence, turn.flag)
    link.start(_ENQUEUE, _enqueue_names(keys, ref), words, told)


def _turn(entry: Entry) -> Turn:
    turn = entry[0].turn
    if turn is None:
        raise AssertionError("jobs of a model with sequences all have a turn")
    return turn


def _enqueue_names(keys: PartitionKeys, ref: StageRef) -> tuple[str, ...]:
    return (
        keys.ready + ref.queue,
        keys.deadline,
        keys.bells + ref.queue,
        keys.volume,
        f"{keys.stats}{ref.model}:{ref.version}",
        keys.jobs,
        keys.ended,
        keys.replies,
        keys.stats,
        *keys.of_sequences,
        keys.lease,
        keys.grace,
    )
