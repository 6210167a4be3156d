"""Keys as their owners have them: made in a store, known by a gateway, and shown."""

import time

from support.waiting import until

from penstock.gateway.access.api_key import mint, new_id
from penstock.gateway.access.records import Grant, made, revoked, rotated
from penstock.scheduler.registry.access_keys import AccessKeys
from penstock.scheduler.registry.registry import Registry


class Keyring:
    """Makes keys in the store behind *links*."""

    def __init__(self, links):
        self._store = AccessKeys(links)
        self._registry = Registry(links)

    async def make(self, team, *scopes, ago_ms=0, **terms):
        """A new key: its id, and its secret."""
        id_ = new_id()
        minted = mint(id_)
        now_ms = int(time.time() * 1000) - ago_ms
        terms = {"scopes": scopes, **terms} if scopes else terms
        record = made(id_, Grant(team, **terms), minted, now_ms)
        await self._store.create(record, await self._known())
        return id_, minted.text

    async def revoke(self, id_):
        before = (await self._known())[id_]
        await self._store.change(before, revoked(before, int(time.time() * 1000)), "key.revoked")

    async def rotate(self, id_, grace_ms=60_000):
        """The key's new secret."""
        before, minted = (await self._known())[id_], mint(id_)
        after = rotated(before, minted, int(time.time() * 1000), grace_ms)
        await self._store.change(before, after, "key.rotated")
        return minted.text

    async def known_to(self, authenticator):
        """Wait until a gateway knows the keys as they are now."""
        now = await self._known()
        await until(lambda: dict(authenticator.records) == now)

    async def _known(self):
        return dict((await self._registry.snapshot()).access_keys)


def bearer(secret):
    """The metadata that shows a secret; none for None."""
    return () if secret is None else (("authorization", f"Bearer {secret}"),)
