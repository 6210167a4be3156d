"""Usage: what each team has had of each model version, summed over the cluster.

The scripts that end jobs count it (lua/lib/usage.lua), so it is as durable as the store, and no job
counts twice.
"""

import asyncio
import struct
from collections.abc import Sequence
from operator import add
from typing import NamedTuple

from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.registry.snapshot import VersionId
from penstock.scheduler.store.keys import PartitionKeys, partition_keys

_USED = struct.Struct("<6d")


class Usage(NamedTuple):
    """What a team has had.

    Attributes:
        requests: that succeeded; the numbers behind `failed` are of these.
        failed: requests that were not answered.
        rows: items along the batch dimension.
        size: bytes of requests and replies.
        queue_us: microseconds in queues.
        device_us: microseconds of devices: of each batch the share of its rows.
    """

    requests: float = 0
    failed: float = 0
    rows: float = 0
    size: float = 0
    queue_us: float = 0
    device_us: float = 0


Used = dict[tuple[str, VersionId], Usage]
"""By team and version; a team's requests that had no job of their own are not counted."""

_Place = tuple[PartitionKeys, str]
"""A partition, and a version that has usage there, as in "digits:1"."""


async def usage_of(queue: Queue) -> Used:
    """All that there is.

    Raises:
        StoreUnavailable: Redis cannot be reached.
    """
    return await _read(queue, await _places(queue))


async def first_usage_of(queue: Queue, most: int) -> tuple[Used, int]:
    """The usage of as many versions, in the order of their names, as have *most* entries.

    Returns:
        it, and how many entries were left out.

    Raises:
        StoreUnavailable: Redis cannot be reached.
    """
    places = await _places(queue)
    counts = await asyncio.gather(
        *(queue.link_to(keys).command("HLEN", keys.usage + name) for keys, name in places)
    )
    by_name: dict[str, int] = {}
    for (_, name), count in zip(places, counts, strict=True):
        by_name[name] = by_name.get(name, 0) + int(count)
    read, left_out = set(), 0
    for name in sorted(by_name):
        if by_name[name] <= most and not left_out:
            most -= by_name[name]
            read.add(name)
        else:
            left_out += by_name[name]
    return await _read(queue, [place for place in places if place[1] in read]), left_out


async def _places(queue: Queue) -> list[_Place]:
    """Jobs of ensembles end in the partitions of other models, and versions go while this stays."""
    partitions = [partition_keys(number) for number in range(queue.partitions)]
    named = await asyncio.gather(
        *(queue.link_to(keys).command("SMEMBERS", keys.used) for keys in partitions)
    )
    return [
        (keys, name.decode())
        for keys, names in zip(partitions, named, strict=True)
        for name in names
    ]


async def _read(queue: Queue, places: Sequence[_Place]) -> Used:
    hashes = await asyncio.gather(
        *(queue.link_to(keys).command("HGETALL", keys.usage + name) for keys, name in places)
    )
    found: Used = {}
    for (_, place), flat in zip(places, hashes, strict=True):
        model, _, number = place.rpartition(":")
        version = VersionId(model, int(number))
        for team, packed in zip(flat[::2], flat[1::2], strict=True):
            name = team.decode(), version
            found[name] = Usage(*map(add, found.get(name, Usage()), _USED.unpack(packed)))
    return found
