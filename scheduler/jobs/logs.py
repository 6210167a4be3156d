"""Logs: the tokens of answers so far, which outlive the workers that compute them (ADR 0044)."""

from collections.abc import Awaitable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument

_APPEND = scripts.load("append")
TOKEN_BYTES: Final = 4
_SUFFIX: Final = ":log"
"""Of a log's key, after its job's; as in append.lua."""


class Appended(IntEnum):
    """What became of new tokens."""

    LOST = 0
    FINE = 1
    CANCELLED = 2
    OTHER = 3
    """The log is another one: whoever goes on must read it."""


class NewTokens(NamedTuple):
    """What a step adds to one log.

    Attributes:
        token: of the worker's lease.
        at: words that the log has before them.
        tokens: their entries, in words of uint32, little endian.
        words: of each entry: 1 where it is its token and nothing else.
        cached: tokens that were not read, since they had been for another answer; to be counted.
    """

    job: str
    token: str
    at: int
    tokens: bytes
    words: int = 1
    cached: int = 0


class Logs:
    """The logs of all answers of one keyspace."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def append(self, model: str, new: Sequence[NewTokens]) -> list[Appended]:
        """Add tokens to the logs of jobs of *model*, and wake their gateways.

        The same call again changes nothing.

        Raises:
            OutOfMemory, StoreUnavailable: none was added, or nobody knows: send it again.
        """
        words: list[Argument] = [word for one in new for word in one]
        keys = self._queue.keys_of(model)
        answer = await self._queue.call(keys, _APPEND, *words, at_once=True)
        return [Appended(value) for value in answer]

    async def read(self, model: str, job: str) -> bytes:
        """The log of a job of *model*; empty where there is none.

        Raises:
            StoreUnavailable: nobody knows.
        """
        key = self._queue.keys_of(model).jobs + job + _SUFFIX
        reading: Awaitable[bytes | None] = self._queue.link_of(model).command("GET", key)
        return await reading or b""
