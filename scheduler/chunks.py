"""Chunks: replies in several parts, on their way through the store.

A worker adds one part after the other to its gateway's stream of replies while it holds the job;
the job's end comes behind them. The gateway says what it has passed on, and the worker is told to
wait while too much is on its way, so that a slow client fills nobody's memory.
"""

from collections.abc import Awaitable
from enum import IntEnum
from typing import Final

from penstock.scheduler import scripts
from penstock.scheduler.jobs import Chunk
from penstock.scheduler.queue import Queue

_CHUNK = scripts.load("chunk")
_TAKE = scripts.load("take")

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


class Chunks:
    """The parts of all replies of one keyspace."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def add(self, model: str, token: str, chunk: Chunk) -> Added:
        """Add *chunk* to the reply to its job; the same again changes nothing.

        Raises:
            OutOfMemory, StoreUnavailable: it was not added, or nobody knows: send it again.
        """
        keys, link = self._queue.keys_of(model), self._queue.link_of(model)
        adding = link.call(
            _CHUNK,
            (keys.jobs + chunk.job, keys.replies),
            (
                token,
                chunk.job,
                chunk.index,
                chunk.digest,
                MOST_AHEAD,
                MOST_BYTES_AHEAD,
                chunk.body,
            ),
        )
        link.flush()
        return Added(await adding)

    def taken(self, model: str, job: str, count: int, size: int) -> Awaitable[int]:
        """The first *count* parts, of *size* bytes in all, have been passed on."""
        keys = self._queue.keys_of(model)
        return self._queue.link_of(model).call(_TAKE, (keys.jobs + job,), (count, size))
