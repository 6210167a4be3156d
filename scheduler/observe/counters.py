"""The counters of a model version: read, added to, and summed over the cluster.

The scripts keep them: what every batch adds to is packed (lua/lib/totals.lua), rare events are
plain integers. What processes count themselves is added to these.
"""

import asyncio
import struct
from collections.abc import Mapping, Sequence

from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.store.keys import partition_keys

_TOTALS = struct.Struct("<11d")
_BATCH = struct.Struct("<4d")

# The order of lua/lib/totals.lua.
_NAMES = (
    "success_count",
    "success_ns",
    "fail_count",
    "fail_ns",
    "queue_ns",
    "compute_input_ns",
    "compute_infer_ns",
    "compute_output_ns",
    "inference_count",
    "execution_count",
    "last_ms",
)
_LATEST = "last_ms"

PREEMPTED = "preempted"
_BATCH_NAMES = ("count", "input_ns", "infer_ns", "output_ns")


def counters_of(fields: Mapping[bytes, bytes]) -> dict[str, int]:
    """The counters by name, from the fields of the statistics hash.

    Those of a batch size are named ``batch:<rows>:count``, ``:input_ns``, ``:infer_ns`` and
    ``:output_ns``. Each success was queued and computed once, so ``queue_count`` and
    ``compute_count`` are its count.
    """
    found = {
        name.decode(): int(value)
        for name, value in fields.items()
        if name != b"totals" and not name.startswith(b"batch:")
    }
    if b"totals" in fields:
        numbers = _TOTALS.unpack(fields[b"totals"])
        for name, number in zip(_NAMES, numbers, strict=True):
            found[name] = found.get(name, 0) + int(number)
    for field, packed in fields.items():
        if field.startswith(b"batch:"):
            numbers = _BATCH.unpack(packed)
            for name, number in zip(_BATCH_NAMES, numbers, strict=True):
                found[f"{field.decode()}:{name}"] = int(number)
    # Direct jobs are accepted and begun in one.
    if direct := found.get("direct"):
        found["accepted"] = found.get("accepted", 0) + direct
    found["queue_count"] = found["compute_count"] = found.get("success_count", 0)
    return found


def summed(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Counters that were kept in several places, as those of one; the latest time counts."""
    names = dict.fromkeys(name for part in parts for name in part)
    found = {name: sum(part.get(name, 0) for part in parts) for name in names}
    if _LATEST in found:
        found[_LATEST] = max(part.get(_LATEST, 0) for part in parts)
    return found


async def statistics_of(
    queue: Queue, model: str, version: int, *, ensemble: bool = False
) -> dict[str, int]:
    """The counters of a model version, summed over the cluster; docs/redis.md names them.

    Args:
        ensemble: its jobs end in the partitions of other models.
    """
    numbers = range(queue.partitions) if ensemble else ()
    partitions = [partition_keys(number) for number in numbers] or [queue.keys_of(model)]
    hashes = await asyncio.gather(
        *(queue.link_to(p).command("HGETALL", f"{p.stats}{model}:{version}") for p in partitions)
    )
    return summed([counters_of(dict(zip(flat[::2], flat[1::2], strict=True))) for flat in hashes])


async def add_counts(queue: Queue, model: str, version: int, counts: Mapping[str, int]) -> None:
    """Add to the statistics of a model version; twice where an answer is lost."""
    key = f"{queue.keys_of(model).stats}{model}:{version}"
    link = queue.link_of(model)
    await asyncio.gather(
        *(link.submit("HINCRBY", key, name, count) for name, count in counts.items())
    )
