"""Chunks: replies in several parts, on their way through the store.

A worker adds one part after the other to its gateway's stream of replies while it holds the job;
the job's end comes behind them. The gateway says what it has passed on, and the worker is told to
wait while too much is on its way, so that a slow client fills nobody's memory.
"""

from collections.abc import Awaitable
from enum import IntEnum, StrEnum
from typing import Final

from penstock.models.refs import StageRef
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import Chunk, Timing
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument
from penstock.scheduler.store.link import Link

_CHUNK = scripts.load("chunk")
_LAST_CHUNK = scripts.load("last_chunk")
_ACK_CHUNKS = scripts.load("ack_chunks")

MOST_AHEAD: Final = 64
"""Parts of one reply that may be on their way to a client."""

MOST_BYTES_AHEAD: Final = 4 << 20
"""Bytes of them; one part of more than that travels by itself."""


class Added(IntEnum):
    """What became of a part."""

    LOST = 0
    FINE = 1
    CANCELLED = 2
    FULL = 3
    DIFFERENT = 4
    GAP = 5


class Ended(StrEnum):
    """How a reply in parts ended; as in the statistics."""

    COMPLETE = "empty_response"
    FAILED = "fail"
    CANCELLED = "cancel"


class Chunks:
    """The parts of all replies of one keyspace."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def add(self, ref: StageRef, token: str, chunk: Chunk, timing: Timing) -> Added:
        """Add *chunk* to the reply to its job, and count it; the same again changes nothing.

        Args:
            timing: of this part.

        Raises:
            OutOfMemory, StoreUnavailable: it was not added, or nobody knows: send it again.
        """
        words: list[Argument] = [token, f"{ref.model}:{ref.version}", chunk.job, chunk.index]
        words += (chunk.digest, MOST_AHEAD, MOST_BYTES_AHEAD, chunk.body)
        words += (timing.infer_ns, timing.output_ns)
        keys = self._queue.keys_of(ref.model)
        return Added(await self._queue.call(keys, _CHUNK, *words, at_once=True))

    def end(
        self, ref: StageRef, token: str, job: str, count: int, how: Ended, took_ns: int, link: Link
    ) -> None:
        """Count how the reply to *job* ended after *count* parts; the job itself ends otherwise.

        The call leaves with what is sent on *link* next, which must be what ends the job. Nobody
        waits for its answer: a count that is lost with the store costs no reply.
        """
        keys = self._queue.keys_of(ref.model)
        # Whole: where Redis did not know it by name, it would come again, after the job's end.
        words = (token, f"{ref.model}:{ref.version}", job, count, how.value, took_ns)
        link.submit("EVAL", _LAST_CHUNK.source, 1, keys.prefix, *words)

    def ack(self, model: str, job: str, count: int, size: int) -> Awaitable[int]:
        """The first *count* parts, of *size* bytes in all, have been passed on."""
        return self._queue.call(self._queue.keys_of(model), _ACK_CHUNKS, job, count, size)
