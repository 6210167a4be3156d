"""Measures: how soon the first token of an answer came, and how fast the others."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from penstock.clock import monotonic
from penstock.language.log.entries import WORD_BYTES
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.spread import FIRST_US, NEXT_US, bucket_of
from penstock.scheduler.requests.counters import (
    FIRST_NS,
    NEXT_NS,
    PROMPT_TOKENS,
    GatewayCounters,
)


async def measured(
    log: AsyncIterator[bytes],
    counters: GatewayCounters,
    ref: StageRef,
    prompt_tokens: int,
    entry_bytes: int = WORD_BYTES,
    prompt_entries: int = 0,
    clock: Callable[[], float] = monotonic,
) -> AsyncGenerator[bytes, None]:
    """*log*, entries of so many bytes; when the answer's tokens came is counted for *ref*.

    The first *prompt_entries* are of the prompt.

    The prompt's tokens count once the first of the answer is there.
    """
    asked_s, first_s, last_s, count = clock(), None, 0.0, -prompt_entries
    try:
        async for packed in log:
            last_s = clock()
            if first_s is None:
                first_s = last_s
                counters.count(ref, PROMPT_TOKENS, prompt_tokens)
                _note(counters, ref, FIRST_US, FIRST_NS, first_s - asked_s)
            count += len(packed) // entry_bytes
            yield packed
    finally:
        if first_s is not None and count > 1:
            mean_s = (last_s - first_s) / (count - 1)
            _note(counters, ref, NEXT_US, NEXT_NS, mean_s)


def _note(
    counters: GatewayCounters, ref: StageRef, kind: str, sum_name: str, took_s: float
) -> None:
    counters.count(ref, f"{kind}{bucket_of(took_s * 1e6)}")
    counters.count(ref, sum_name, int(took_s * 1e9))
