"""The keyspace: how many partitions it has, fixed when it is first used."""

from penstock.errors import StoreRefused, StoreUnsuitable
from penstock.scheduler import scripts
from penstock.scheduler.keys import RegistryKeys
from penstock.scheduler.link import Links
from penstock.scheduler.queue import Queue

SCHEMA = 1
"""Grows when the scripts of two releases could not run on the same keys."""

CLUSTER_PARTITIONS = 16

_KEYSPACE = scripts.load("keyspace")


async def open_queue(links: Links, partitions: int | None = None) -> Queue:
    """The queue of the keyspace behind *links*; its partitions are fixed by whoever comes first.

    Args:
        partitions: wanted for a new keyspace; None for 16 on a cluster and 1 elsewhere.

    Raises:
        StoreUnsuitable: the keyspace is of another schema, or Redis refuses scripts.
    """
    wanted = partitions or (CLUSTER_PARTITIONS if links.clustered else 1)
    try:
        found, schema = await links.to(RegistryKeys.tag).call(
            _KEYSPACE, (RegistryKeys.keyspace,), (wanted, SCHEMA)
        )
    except StoreRefused as error:
        raise StoreUnsuitable(f"Penstock's scripts do not run here: {error}") from error
    if int(schema) != SCHEMA:
        raise StoreUnsuitable(
            f"the keyspace has schema {int(schema)}, this release needs {SCHEMA}: "
            "use another database, or the matching release"
        )
    return Queue(links, int(found))
