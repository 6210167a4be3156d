"""Enqueueing: jobs enter one queue, in their turn in a sequence, or in place of a dead letter."""

from collections.abc import Sequence
from typing import Any, Final

from penstock.errors import Code, InvalidRequest, OutOfMemory, PenstockError, QueueFull
from penstock.scheduler.jobs.enqueue_batches import BatchKey, Entry
from penstock.scheduler.jobs.payloads import payload_args
from penstock.scheduler.jobs.types import NewJob, Turn
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument
from penstock.scheduler.store.keys import PartitionKeys
from penstock.scheduler.store.link import Link

_ENQUEUE = scripts.load("enqueue")

FULL: Final = "Exceeds maximum queue size"
"""Of a request that a queue on its way has no room for (lua/lib/step.lua)."""

# What the script answers for a job.
_ACCEPTED: Final = 1
_NO_MEMORY: Final = -2
_NOT_STARTED: Final = -3
_LETTER_GONE: Final = {
    -4: "it has been removed, or retried by somebody else",
    -5: "what it carried is not kept for longer than a week, nor beyond 1 MiB "
    "(16 MiB of all letters together); send the request again",
}


class LetterGone(PenstockError):
    """The letter, or the request that it carried, is no longer there."""

    code = Code.FAILED_PRECONDITION

    def __init__(self, job: str, what: str) -> None:
        super().__init__(f"the dead letter of job {job} cannot be retried: {what}")
        self.job = job


def enqueue(link: Link, keys: PartitionKeys, batch: BatchKey, entries: Sequence[Entry]) -> None:
    """Send *entries* in one call; each is told how that ended."""

    def on_reply(answer: Any) -> None:
        failed = isinstance(answer, Exception)
        answers = [answer] * len(entries) if failed else answer
        for (job, answered), one in zip(entries, answers, strict=True):
            answered(one if failed else _accepted(one, job, batch))

    turns = [job.turn for job, _ in entries if job.turn is not None]
    words = _of_batch(batch, turns)
    for job, _ in entries:
        words += (job.id, job.priority, job.rows, job.ttl_ms, job.begin_within_ms)
        # A sequence's is never set beside twice: the state may be behind it already.
        words += (b"", 0) if batch.letter else payload_args(link, keys.jobs, job, once=bool(turns))
        words.append(job.caller)
        if job.turn is not None:
            words += (job.turn.name, job.turn.flag)
    # Who else comes in this turn has been gathered already.
    link.start(_ENQUEUE, keys.prefix, words, on_reply)


def _of_batch(batch: BatchKey, turns: Sequence[Turn]) -> list[Argument]:
    limits = batch.limits
    words: list[Argument] = [batch.gateway, batch.ref.queue, limits.jobs, limits.payload_bytes]
    words += (0, 0) if turns else (limits.level, int(limits.puts_off))
    words += (batch.ensemble, batch.crashed, *(batch.letter or ("", "")))
    if not turns:
        return [*words, "", "", ""]
    # All are for one version: they differ at most by what it said of itself a moment ago.
    terms = turns[-1].terms
    initial = terms.initial if any(turn.starts for turn in turns) else b""
    return [*words, terms.slots, terms.idle_ms, initial]


def _accepted(answer: int | bytes, job: NewJob, batch: BatchKey) -> str | Exception | None:
    if isinstance(answer, bytes):
        return answer.decode()
    if answer == _ACCEPTED:
        return None
    if answer == _NO_MEMORY:
        return OutOfMemory("there is no memory for the request in the queue; try again later")
    if answer == _NOT_STARTED and job.turn is not None:
        return InvalidRequest(
            f"inference request for sequence {job.turn.id} to model '{job.ref.model}' must specify "
            "the START flag on the first request of the sequence"
        )
    if answer in _LETTER_GONE and batch.letter is not None:
        return LetterGone(batch.letter[1], _LETTER_GONE[answer])
    return QueueFull(FULL)
