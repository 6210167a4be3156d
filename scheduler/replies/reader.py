"""Replies on their way back: one stream for each gateway process and partition.

The stream keeps a reply until its gateway has read it, whatever happens to the connection.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import structlog

from penstock.clock import monotonic
from penstock.errors import Code, PenstockError
from penstock.process.supervised import regularly
from penstock.scheduler.jobs.types import Chunk, LogTokens, Reply
from penstock.scheduler.replies.read_through import ReadThrough
from penstock.scheduler.store import scripts
from penstock.scheduler.store.keys import partition_keys
from penstock.scheduler.store.link import Link, Links

log = structlog.get_logger()

_HEARTBEAT = scripts.load("heartbeat")
HEARTBEAT_EVERY_S = 1.0
STREAM_LIFE_MS = 120_000
_BLOCK_MS = 1000
_FIRST, _MOST = 8, 256
_READ_BYTES = 16 << 20
_RETRY_S = 0.1
# Trimming costs as much as reading, so it waits for an idle second or for so much.
_TRIM_FROM_BYTES = 256 * 1024
_ENTRY_BYTES = 512


class ReplyReader:
    """Reads all replies for one gateway process, and says for it that it lives."""

    def __init__(
        self,
        links: Links,
        partitions: int,
        gateway: str,
        deliver: Callable[[Reply], None],
        deliver_chunk: Callable[[Chunk | LogTokens], None] | None = None,
        read_through: ReadThrough | None = None,
    ) -> None:
        """*deliver* gets each reply at least once, in the order of its partition.

        Args:
            deliver_chunk: gets the parts of replies that come in several, and the tokens of
                answers, in the same order; None where nobody asks for any.
            read_through: is told how far replies were read.
        """
        self._links = links
        self._partitions = range(partitions)
        self._gateway = gateway
        self._deliver = deliver
        self._deliver_chunk = deliver_chunk or _unasked
        self._read_through = read_through or ReadThrough()

    async def run(self) -> None:
        """Read, and say that this gateway lives, until cancelled; each partition for itself."""
        readings = [self._reading(partition) for partition in self._partitions]
        for reading in readings:
            reading.ask()
        try:
            async with asyncio.TaskGroup() as tasks:
                for partition in self._partitions:
                    tasks.create_task(self._beat_regularly(partition))
        finally:
            for reading in readings:
                reading.stop()

    async def heartbeat(self, *, leave: bool = False) -> None:
        """Say in every partition that this gateway lives, or that it leaves for good.

        Where a server cannot be reached, `run` says it later; a gateway that leaves is missed.

        Raises:
            StoreUnavailable: none can be.
        """
        saying = (self._heartbeat(partition, leave=leave) for partition in self._partitions)
        answers = await asyncio.gather(*saying, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        for failure in failures:
            if len(failures) == len(answers) or not isinstance(failure, PenstockError):
                raise failure

    async def _heartbeat(self, partition: int, *, leave: bool = False) -> None:
        keys = partition_keys(partition)
        words = (self._gateway, STREAM_LIFE_MS, "1" if leave else "")
        await self._links.to(keys.tag).call(_HEARTBEAT, keys.prefix, words)

    async def _beat_regularly(self, partition: int) -> None:
        beat = partial(self._heartbeat, partition)
        await regularly(HEARTBEAT_EVERY_S, beat, "gateway heartbeat failed", partition=partition)

    def _reading(self, partition: int) -> "_Reading":
        keys = partition_keys(partition)
        link = self._links.blocking(keys.tag)
        stream = keys.replies + self._gateway
        read_to_the_end = partial(self._read_through.note, keys.tag)
        return _Reading(link, stream, self._deliver, self._deliver_chunk, read_to_the_end)


class _Reading:
    """The replies of one stream. Each is delivered in the event-loop turn in which it comes."""

    def __init__(
        self,
        link: Link,
        stream: str,
        deliver: Callable[[Reply], None],
        deliver_chunk: Callable[[Chunk | LogTokens], None],
        read_to_the_end: Callable[[float], None],
    ) -> None:
        """*read_to_the_end* hears when it was asked what had no more to follow."""
        self._link = link
        self._stream = stream
        self._deliver = deliver
        self._deliver_chunk = deliver_chunk
        self._read_to_the_end = read_to_the_end
        self._asked_s = 0.0
        self._position = b"0-0"
        self._connections_made = link.connections_made
        self._untrimmed = 0
        self._count = _FIRST
        self._stopped = False

    def ask(self) -> None:
        """Ask for what comes after the last reply that was read."""
        if self._stopped:
            return
        if self._connections_made not in (0, self._link.connections_made):
            # Another server may answer now, whose stream is behind: begin anew. What was read
            # and not trimmed comes again, and finds nobody waiting.
            self._position = b"0-0"
        self._connections_made = self._link.connections_made
        self._asked_s = monotonic()
        words = ("XREAD", "COUNT", self._count, "BLOCK", _BLOCK_MS, "STREAMS", self._stream)
        self._link.post(self._heard, *words, self._position)

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True

    def _heard(self, answer: Any) -> None:
        if isinstance(answer, Exception):
            if not self._stopped:
                log.warning("reading replies failed", error=str(answer))
                asyncio.get_running_loop().call_later(_RETRY_S, self.ask)
            return
        entries = answer[0][1] if answer else ()
        ended = len(entries) < self._count
        if entries:
            self._count = next_count(self._count, [sum(map(len, fields)) for _, fields in entries])
        for position, fields in entries:
            self._position = position
            self._untrimmed += self._deliver_entry(fields)
        if self._untrimmed > (_TRIM_FROM_BYTES if entries else 0):
            self._trim()
        if ended and self._link.connections_made == self._connections_made:
            self._read_to_the_end(self._asked_s)
        self.ask()

    def _deliver_entry(self, fields: Sequence[bytes]) -> int:
        """Hand on what an entry of the stream carries; about how many bytes it takes up."""
        kind = fields[0]
        if kind == b"chunk":
            self._deliver_chunk(_chunk(fields))
            return _ENTRY_BYTES + len(fields[7])
        size = 0
        if kind == b"tokens":
            for new in tokens_of(fields):
                size += _ENTRY_BYTES
                self._deliver_chunk(new)
            return size
        for reply in replies_of(fields):
            size += _ENTRY_BYTES + len(reply.body)
            self._deliver(reply)
        return size

    def _trim(self) -> None:
        # A stream of another server is not known to have been read.
        if self._link.connections_made == self._connections_made:
            self._link.submit("XTRIM", self._stream, "MINID", _after(self._position))
            self._untrimmed = 0


def next_count(count: int, sizes: Sequence[int]) -> int:
    """How many entries to read next: Redis counts them, and each may be many MiB.

    The largest that came is what each of the next may be; while all are small, more are read.
    """
    return max(1, min(2 * count, _MOST, _READ_BYTES // max([1, *sizes])))


def _after(position: bytes) -> bytes:
    milliseconds, _, sequence = position.partition(b"-")
    return b"%b-%d" % (milliseconds, int(sequence) + 1)


def _chunk(fields: Sequence[bytes]) -> Chunk:
    """The part of a reply that an entry of the stream carries; lua/chunk.lua writes it."""
    _, job, _, index, _, digest, _, body = fields
    return Chunk(job.decode(), int(index), digest, body)


def tokens_of(fields: Sequence[bytes]) -> Iterator[LogTokens]:
    """The tokens that an entry of the stream carries; lua/append.lua writes it."""
    for at in range(0, len(fields), 6):
        _, job, _, place, _, tokens = fields[at : at + 6]
        yield LogTokens(job.decode(), int(place), tokens)


def _unasked(chunk: Chunk | LogTokens) -> None:
    log.warning("a response that nobody asked for", job=chunk.job)


def replies_of(fields: Sequence[bytes]) -> Iterator[Reply]:
    """The replies that one entry of the stream carries; lua/lib/end_job.lua writes them."""
    for at in range(0, len(fields), 8):
        _, job, _, code, _, message, _, body = fields[at : at + 8]
        yield Reply(
            job.decode(errors="replace"), _code(code), message.decode(errors="replace"), body
        )


def _code(number: bytes) -> Code:
    """The status, or UNKNOWN for one that only another release has."""
    try:
        return Code(int(number))
    except ValueError:
        return Code.UNKNOWN
