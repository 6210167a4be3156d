"""Replies on their way back: one stream for each gateway process and partition.

The stream keeps a reply until its gateway has read it, whatever happens to the connection.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from penstock.errors import Code, PenstockError
from penstock.scheduler import scripts
from penstock.scheduler.keys import partition_keys
from penstock.scheduler.link import Links

log = structlog.get_logger()

_ATTACH = scripts.load("attach")
ATTACH_EVERY_S = 1.0
STREAM_LIFE_MS = 120_000
_BLOCK_MS = 1000
_MOST = 256
# Trimming costs as much as reading, so it waits for an idle second or for so much.
_TRIM_FROM_BYTES = 256 * 1024
_ENTRY_BYTES = 512


@dataclass(frozen=True, slots=True)
class Reply:
    """How a job ended, as its gateway reads it."""

    job: str
    code: Code
    message: str
    body: bytes


class ReplyReader:
    """Reads all replies for one gateway process, and says for it that it lives."""

    def __init__(
        self, links: Links, partitions: int, gateway: str, deliver: Callable[[Reply], None]
    ) -> None:
        """*deliver* gets each reply at least once, in the order of its partition."""
        self._links = links
        self._partitions = range(partitions)
        self._gateway = gateway
        self._deliver = deliver

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for partition in self._partitions:
                tasks.create_task(self._read(partition))
            tasks.create_task(self._attach_regularly())

    async def attach(self, *, leave: bool = False) -> None:
        """Say in every partition that this gateway lives, or that it leaves for good."""
        for partition in self._partitions:
            keys = partition_keys(partition)
            await self._links.to(keys.tag).call(
                _ATTACH,
                (keys.gateways, keys.replies + self._gateway),
                (self._gateway, STREAM_LIFE_MS, "1" if leave else ""),
            )

    async def _attach_regularly(self) -> None:
        while True:
            try:
                await self.attach()
            except PenstockError as error:
                log.warning("gateway heartbeat failed", error=str(error))
            await asyncio.sleep(ATTACH_EVERY_S)

    async def _read(self, partition: int) -> None:
        keys = partition_keys(partition)
        stream = keys.replies + self._gateway
        link = self._links.blocking(keys.tag)
        position, generation, untrimmed = b"0-0", link.generation, 0
        while True:
            if generation not in (0, link.generation):
                # Another server may answer now, whose stream is behind: begin anew. What was
                # read and not trimmed comes again, and finds nobody waiting.
                position = b"0-0"
            generation = link.generation
            try:
                answer = await link.command(
                    "XREAD", "COUNT", _MOST, "BLOCK", _BLOCK_MS, "STREAMS", stream, position
                )
            except PenstockError as error:
                log.warning("reading replies failed", error=str(error))
                await asyncio.sleep(0.1)
                continue
            for _, entries in answer or ():
                for position, fields in entries:  # noqa: B007 - the last one read
                    for reply in replies_of(fields):
                        untrimmed += _ENTRY_BYTES + len(reply.body)
                        self._deliver(reply)
            if link.generation == generation and untrimmed > (_TRIM_FROM_BYTES if answer else 0):
                link.submit("XTRIM", stream, "MINID", _after(position))
                untrimmed = 0


def _after(position: bytes) -> bytes:
    milliseconds, _, sequence = position.partition(b"-")
    return b"%b-%d" % (milliseconds, int(sequence) + 1)


def replies_of(fields: Sequence[bytes]) -> Iterator[Reply]:
    """The replies that one entry of the stream carries; lua/lib/end_job.lua writes them."""
    for at in range(0, len(fields), 8):
        _, job, _, code, _, message, _, body = fields[at : at + 8]
        yield Reply(job.decode(), Code(int(code)), message.decode(), body)
