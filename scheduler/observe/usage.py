"""Usage: what each team has had of each model version, summed over the cluster.

The scripts that end jobs count it (lua/lib/usage.lua), so it is as durable as the store, and no job
counts twice.
"""

import asyncio
import struct
from typing import NamedTuple

from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.registry.snapshot import VersionId
from penstock.scheduler.store.keys import partition_keys

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


async def usage_of(queue: Queue) -> dict[tuple[str, VersionId], Usage]:
    """By team and version; a team's requests that had no job of their own are not counted.

    Raises:
        StoreUnavailable: Redis cannot be reached.
    """
    partitions = [partition_keys(number) for number in range(queue.partitions)]
    # Jobs of ensembles end in the partitions of other models, and versions go while this stays.
    named = await asyncio.gather(
        *(queue.link_to(keys).command("SMEMBERS", keys.used) for keys in partitions)
    )
    places = [
        (keys, name.decode())
        for keys, names in zip(partitions, named, strict=True)
        for name in names
    ]
    hashes = await asyncio.gather(
        *(queue.link_to(keys).command("HGETALL", keys.usage + name) for keys, name in places)
    )
    found: dict[tuple[str, VersionId], Usage] = {}
    for (_, place), flat in zip(places, hashes, strict=True):
        model, _, number = place.rpartition(":")
        version = VersionId(model, int(number))
        for team, packed in zip(flat[::2], flat[1::2], strict=True):
            name = team.decode(), version
            before = found.get(name, Usage())
            had = _USED.unpack(packed)
            found[name] = Usage(*(a + b for a, b in zip(before, had, strict=True)))
    return found
