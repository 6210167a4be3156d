"""Access keys: who may call, changed one record at a time; gateways see each change at once.

They are facts in the registry like any other (`Snapshot.access_keys`). A key that is revoked stays
on record without its secrets: a cluster that has had a key asks for one (ADR 0036).
"""

from collections.abc import Mapping
from typing import Final

from penstock.errors import InvalidRequest, PenstockError
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.records import as_bytes
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links

MOST_KEYS: Final = 2000
"""Keys on record, those that were revoked included."""

REVOKED_KEPT: Final = 1000

_CHANGE = scripts.load("registry_change_key")


class TooManyKeys(PenstockError):
    """There are as many keys as there may be."""


class AccessKeys:
    """The keys behind *links*."""

    def __init__(self, links: Links) -> None:
        self._link = links.to(RegistryKeys.tag)

    async def create(self, record: pb.AccessKey, known: Mapping[str, pb.AccessKey]) -> None:
        """Put a new key on record.

        Args:
            known: all keys; of those that were revoked the oldest make room.

        Raises:
            TooManyKeys: there is no room for it.
            StoreUnavailable: Redis cannot be reached; it may or may not be there.
        """
        words: list[Argument] = [record.id, "", as_bytes(record), "key.created", MOST_KEYS]
        words += _outdated(known)
        answer = int(await self._link.call(_CHANGE, RegistryKeys.prefix, words))
        if answer < 0:
            raise TooManyKeys(
                f"there are {MOST_KEYS} keys, which is as many as there may be: revoke some with "
                "'penstock keys revoke'"
            )
        _check(answer, record)

    async def change(self, before: pb.AccessKey, after: pb.AccessKey, event: str) -> None:
        """Put *after* in the place of *before*.

        Raises:
            InvalidRequest: somebody else has changed the key meanwhile.
            StoreUnavailable: Redis cannot be reached; it may or may not have changed.
        """
        words = (before.id, as_bytes(before), as_bytes(after), event, MOST_KEYS)
        _check(int(await self._link.call(_CHANGE, RegistryKeys.prefix, words)), before)


def _check(answer: int, record: pb.AccessKey) -> None:
    if answer != 1:
        raise InvalidRequest(
            f"the key {record.id} was changed by somebody else at the same time: look at it with "
            "'penstock keys ls', and try again"
        )


def _outdated(known: Mapping[str, pb.AccessKey]) -> list[str]:
    """Ids of revoked keys beyond those that are kept, the oldest first."""
    revoked = sorted((record.revoked_ms, id_) for id_, record in known.items() if record.revoked_ms)
    return [id_ for _, id_ in revoked[: max(0, len(revoked) - REVOKED_KEPT)]]
