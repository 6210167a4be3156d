"""The key book: a cluster's keys, as those list, make and change them who may."""

import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from penstock.errors import InvalidConfiguration
from penstock.gateway.access import records
from penstock.gateway.access.api_key import checked_id, mint
from penstock.gateway.access.records import Grant
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.access_keys import AccessKeys
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.link import Links

DAY_MS: Final = 86_400_000
"""How long the secret before a new one is taken, unless something else is said."""

_LONGEST_MS: Final = 36_500 * DAY_MS


class Issued(NamedTuple):
    """A key, and the new secret of it: the only moment at which its text is known.

    Attributes:
        secret: None for a key that certificates alone stand for.
    """

    record: pb.AccessKey
    secret: str | None

    def __repr__(self) -> str:
        return f"Issued({self.record.id})"


class Revoked(NamedTuple):
    """A key that is revoked now.

    Attributes:
        before: it was already.
    """

    record: pb.AccessKey
    before: bool


class KeyBook:
    """The keys behind *links*, each change of which is one step in the store."""

    def __init__(self, links: Links) -> None:
        self._keys = AccessKeys(links)
        self._registry = Registry(links)

    async def listed(self) -> list[pb.AccessKey]:
        """All that are on record, by team and age.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        known = (await self._known()).values()
        return sorted(known, key=lambda record: (record.team, record.created_ms))

    async def create(self, id_: str, grant: Grant, *, secret: bool = True) -> Issued:
        """Put a new key on record.

        Raises:
            InvalidConfiguration: there can be no such key.
            TooManyKeys, StoreUnavailable: it is not, or may not be, on record.
        """
        if grant.ttl_ms is not None and not 0 < grant.ttl_ms <= _LONGEST_MS:
            raise InvalidConfiguration("a key is good for 1 ms to a hundred years, or for ever")
        minted = mint(id_) if secret else None
        record = records.made(id_, grant, minted, _now_ms())
        await self._keys.create(record, await self._known())
        return Issued(record, minted and minted.text)

    async def rotate(self, id_: str, grace_ms: int = DAY_MS) -> Issued:
        """Give a key a new secret; the one before is taken for *grace_ms* yet.

        Raises:
            InvalidConfiguration: there is no such key, or it is good no more.
            StoreUnavailable: it has, or may have, none.
        """
        if not 0 <= grace_ms <= _LONGEST_MS:
            raise InvalidConfiguration("the secret before is taken for 0 ms to a hundred years")
        before = await self._found(id_)
        minted = mint(before.id)
        after = records.rotated(before, minted, _now_ms(), grace_ms)
        await self._keys.change(before, after, "key.rotated")
        return Issued(after, minted.text)

    async def revoke(self, id_: str) -> Revoked:
        """End a key and its secrets.

        Raises:
            InvalidConfiguration: there is no such key.
            StoreUnavailable: it is not, or may not be, revoked.
        """
        before = await self._found(id_)
        if not before.revoked_ms:
            await self._keys.change(before, records.revoked(before, _now_ms()), "key.revoked")
        return Revoked(before, bool(before.revoked_ms))

    async def _found(self, id_: str) -> pb.AccessKey:
        known = await self._known()
        if checked_id(id_) not in known:
            raise InvalidConfiguration(f"there is no key {id_} here: 'penstock keys ls' lists them")
        return known[id_]

    async def _known(self) -> Mapping[str, pb.AccessKey]:
        return (await self._registry.snapshot()).access_keys


def _now_ms() -> int:
    return int(time.time() * 1000)
