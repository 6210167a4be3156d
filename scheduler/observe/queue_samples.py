"""Queue samples: what waits in queues, in which order, and how fast it is worked off.

Workers write down what they measured four times a second, while they measure something; it lasts
for a minute. Gateways read it, and the queues, many times a second, so both are short.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.models.refs import StageRef
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.store import scripts

_QUEUE_SAMPLE = scripts.load("queue_sample")

MARKS: Final = 17
"""Jobs of a queue whose place in the order is read, evenly spaced, first and last included."""

_BATCH_TIMES_MS: Final = 60_000

PLACE: Final = 4398046511104
LAST_LEVEL: Final = 1023


def score_of(priority: int, deadline_ms: float) -> float:
    """The place in its queue of a job that was not put off; as in lua/lib/ready.lua."""
    return 2 * min(priority, LAST_LEVEL) * PLACE + min(deadline_ms, PLACE - 1)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The jobs that wait in one queue.

    Attributes:
        now_ms: Redis's clock when it was read.
        marks: scores of `MARKS` of them, or of all, in order.
        rows: mean rows of these.
    """

    now_ms: float
    jobs: int
    marks: tuple[float, ...]
    rows: float


async def waiting_in(queue: Queue, refs: Sequence[StageRef]) -> dict[StageRef, Waiting]:
    """What waits for stages of one model."""
    keys, queues = queue.keys_of(refs[0].model), [ref.queue for ref in refs]
    now_ms, *found = await queue.call(keys, _QUEUE_SAMPLE, MARKS, *queues)
    return {
        ref: Waiting(int(now_ms), jobs, tuple(map(float, marks)), rows / max(1, len(marks)))
        for ref, (jobs, rows, *marks) in zip(refs, found, strict=True)
    }


async def write_batch_times(
    queue: Queue, model: str, boot_id: str, seconds: Mapping[int, float]
) -> None:
    """Write down what a worker measured: rows of a batch -> seconds."""
    text = " ".join(f"{rows}:{took_s * 1e6:.0f}" for rows, took_s in seconds.items())
    key = queue.keys_of(model).batch_times + boot_id
    await queue.link_of(model).command("SET", key, text, "PX", _BATCH_TIMES_MS)


async def batch_times_of(
    queue: Queue, model: str, boot_ids: Sequence[str]
) -> list[dict[int, float]]:
    """What each of these workers measured; empty where it is not known."""
    start = queue.keys_of(model).batch_times
    found = await queue.link_of(model).command("MGET", *(start + id_ for id_ in boot_ids))
    return [_seconds(text or b"") for text in found]


def _seconds(text: bytes) -> dict[int, float]:
    pairs = (word.split(b":") for word in text.split())
    return {int(rows): int(took_us) / 1e6 for rows, took_us in pairs}
