"""The keyspace: how many partitions it has, and which releases may use it together.

Processes of two releases run side by side while a cluster is updated. Their scripts work on the
same keys, so what they keep there has a number, the schema: processes whose schemas are equal, or
differ by one, go together; any other does not begin (ADR 0014).
"""

from penstock.errors import StoreRefused, StoreUnsuitable
from penstock.scheduler.store import scripts
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links

SCHEMA = 1
"""Grows by one with each release whose scripts keep something else in Redis than those before.

They must still run beside the scripts of the schema before, on the same keys.
"""

SCHEMA_SILENT_MS = 10_000
"""A schema of which no process was heard for so long is in use no more."""

CLUSTER_PARTITIONS = 16

_KEYSPACE = scripts.load("keyspace")


async def open_keyspace(links: Links, partitions: int | None = None) -> int:
    """How many partitions the keyspace behind *links* has: fixed by whoever comes first.

    Args:
        partitions: wanted for a new keyspace; None for 16 on a cluster and 1 elsewhere.

    Raises:
        StoreUnsuitable: the keyspace, or a process that lives on it, has a schema that this
            release does not go with; or Redis refuses scripts.
    """
    wanted = partitions or (CLUSTER_PARTITIONS if links.clustered else 1)
    try:
        words, link = (wanted, SCHEMA, SCHEMA_SILENT_MS), links.to(RegistryKeys.tag)
        found, schema, live = await link.call(_KEYSPACE, RegistryKeys.prefix, words)
    except StoreRefused as error:
        raise StoreUnsuitable(f"Penstock's scripts do not run here: {error}") from error
    if int(schema) != SCHEMA:
        raise StoreUnsuitable(_refusal(int(schema), live=live == 1))
    return int(found)


def _refusal(schema: int, *, live: bool) -> str:
    between = SCHEMA - 1 if schema < SCHEMA else SCHEMA + 1
    if live:
        return (
            f"processes of schema {schema} run here, and this release has schema {SCHEMA}, which "
            f"goes together with {SCHEMA - 1} to {SCHEMA + 1}: stop them first, or replace them "
            f"with a release of schema {between}"
        )
    return (
        f"the keyspace has schema {schema}, this release has {SCHEMA}, which goes together with "
        f"{SCHEMA - 1} to {SCHEMA + 1}: use another database, or run a release of schema "
        f"{between} on it first"
    )
