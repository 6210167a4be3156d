"""The stream of the registry's changes: it wakes who reads, and is the cluster's log of events."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import structlog

from penstock.errors import PenstockError
from penstock.protos import cluster_pb2 as pb
from penstock.retry import Backoff
from penstock.scheduler.store.conversation import by_name
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Link

log = structlog.get_logger()

CHANGES_KEPT: Final = 5000
"""Entries of the stream; older ones go."""

LOOK_EVERY_MS: Final = 1000
"""The longest wait for a change; who waits looks then, whatever happens."""

EVENT_ID: Final = re.compile(r"\d+(-\d+)?")

_COALESCE_S = 0.02
_BACKOFF = Backoff(0.5, 2.0)


async def change_after(link: Link, change_id: str) -> None:
    """Return when something changed, or after a second; what comes together counts as one."""
    if await entries_after(link, change_id, 1):
        await asyncio.sleep(_COALESCE_S)


async def entries_after(
    link: Link, position: str, most: int, *, waits: bool = True
) -> list[tuple[bytes, Sequence[bytes]]]:
    """What came after *position*; *waits* a second for it, which needs a link of its own."""
    blocks = ("BLOCK", LOOK_EVERY_MS) if waits else ()
    try:
        answer = await link.command(
            "XREAD", "COUNT", most, *blocks, "STREAMS", RegistryKeys.changes, position
        )
    except PenstockError as error:
        log.debug("waiting for changes failed", error=str(error))
        await asyncio.sleep(_BACKOFF.delay_s(1))
        return []
    return list(answer[0][1]) if answer else []


def event_of(id_: str, fields: Sequence[bytes]) -> pb.Event:
    """The event that an entry says."""
    named = by_name(fields, bytes.decode)
    return pb.Event(id=id_, time_ms=int(id_.partition("-")[0]), **named)
