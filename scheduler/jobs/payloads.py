"""Large payloads: beside their jobs, since each way through a script copies them.

In general they are keys of their own. A payload is set before the script that makes its job, on
the same connection, and read after the one that claims it. Its key begins with the job's, so it
lies in the same slot; the scripts remove it with the job (lua/lib/end_job.lua).

Where all workers of a stage are neighbours of the gateway, the payload stays in the gateway's own
memory, and the job carries a handle of it (`penstock.transport.arena`, ADR 0017).
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from penstock.scheduler.jobs.types import Lease, Missing, NewJob
from penstock.scheduler.store.link import Link
from penstock.transport.arena import ArenaReader, OutOfReach, is_handle

log = structlog.get_logger()

LARGE_BYTES: Final = 64 * 1024
"""From this size on."""

BESIDE: Final = ":payload"
"""Where the payload of the first stage is, after the job's key; as in lua/lib/job.lua."""

ADVANCED_TTL_MS: Final = 3_600_000
"""Life of an activation whose job is not known to end sooner."""

_GRACE_MS: Final = 60_000


def payload_args(link: Link, jobs: str, job: NewJob, *, once: bool = False) -> tuple[bytes, int]:
    """What a script takes of a new job's payload: itself and 0, or nothing and its size.

    A handle comes with the size of what it stands for, negative: there is nothing beside the job.

    Args:
        jobs: the family of jobs' keys.
        once: as for `set_payload_key`, where it goes that way.
    """
    payload = bytes(job.payload)
    if job.lent_bytes or len(payload) < LARGE_BYTES:
        return payload, -job.lent_bytes
    set_payload_key(link, jobs + job.id + BESIDE, payload, job.ttl_ms, once=once)
    return b"", len(payload)


def activation_args(
    link: Link, jobs: str, job: str, payload: bytes, token: str
) -> tuple[bytes, int, str]:
    """The same of the payload that *job* moves on with, and where it is after the job's key."""
    if len(payload) < LARGE_BYTES:
        return payload, 0, ""
    # Another name than the last one's: an owner that lost the job must not change it.
    where = f"{BESIDE}:{token}"
    set_payload_key(link, jobs + job + where, payload, ADVANCED_TTL_MS)
    return b"", len(payload), where


def set_payload_key(
    link: Link, key: str, payload: bytes, ttl_ms: int, *, once: bool = False
) -> None:
    """Set a payload; it is there, or was refused, before the script that follows runs.

    Args:
        once: leave one that is there as it is.
    """
    link.submit("SET", key, payload, "PX", ttl_ms + _GRACE_MS, *(("NX",) if once else ()))


async def with_payloads(
    link: Link, jobs: str, leases: Sequence[Lease], places: Sequence[bytes], arenas: ArenaReader
) -> list[Lease]:
    """*leases*, with the payloads that lie elsewhere.

    Args:
        jobs: the family of jobs' keys.
        places: for each lease, where its payload is after the job's key; empty if it has it.
    """
    names = [f"{jobs}{one.id}{at.decode()}" for one, at in zip(leases, places, strict=True) if at]
    payloads = iter(await asyncio.gather(*(link.submit("GET", name) for name in names)))
    return [
        one._replace(payload=next(payloads) or Missing.LOST)
        if at
        else await _with_lent(link, jobs, one, arenas)
        for one, at in zip(leases, places, strict=True)
    ]


async def _with_lent(link: Link, jobs: str, lease: Lease, arenas: ArenaReader) -> Lease:
    """*lease*, with what its gateway has lent, if it has."""
    if not is_handle(lease.payload):
        return lease
    try:
        payload = arenas.read(lease.payload)
    except OutOfReach as error:
        log.warning("a payload is out of reach", job=lease.id, why=str(error))
        return lease._replace(payload=Missing.OUT_OF_REACH)
    if lease.alone:
        # It may end its worker once more, and then belongs to its letter (letters.lua).
        ttl_ms = max(1, lease.remaining_ms) + _GRACE_MS
        await link.command("SET", jobs + lease.id + BESIDE, payload, "PX", ttl_ms)
    return lease._replace(payload=payload)
