"""Keys in the store: made once, changed by whoever knows what they were, never too many."""

import pytest
from support.clients.keys import Keyring

from penstock.errors import InvalidRequest
from penstock.gateway.access.records import Grant, made, revoked
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry import access_keys
from penstock.scheduler.registry.access_keys import AccessKeys, TooManyKeys
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.link import Links

NOW_MS = 1_800_000_000_000


@pytest.fixture
async def links(each_redis_url):
    async with Links(each_redis_url) as links:
        yield links


def key(id_, now_ms=NOW_MS):
    return made(id_, Grant("t", certificates=["c"]), None, now_ms)


async def known(links):
    return dict((await Registry(links).snapshot()).access_keys)


async def test_of_two_who_change_a_key_at_once_one_is_told(links):
    keys, before = AccessKeys(links), key("a")
    await keys.create(before, {})
    await keys.change(before, revoked(before, NOW_MS), "key.revoked")
    other = pb.AccessKey.FromString(before.SerializeToString())
    other.team = "u"

    with pytest.raises(InvalidRequest, match="at the same time"):
        await keys.change(before, other, "key.rotated")

    assert (await known(links))["a"].revoked_ms == NOW_MS


async def test_what_was_done_already_may_be_done_again(links):
    """As after a lost answer."""
    keys, before = AccessKeys(links), key("a")
    for _ in range(2):
        await keys.create(before, {})
        assert await known(links) == {"a": before}
    for _ in range(2):
        await keys.change(before, revoked(before, NOW_MS), "key.revoked")

    assert (await known(links))["a"].revoked_ms == NOW_MS


async def test_there_are_only_so_many(links, monkeypatch):
    monkeypatch.setattr(access_keys, "MOST_KEYS", 2)
    keyring = Keyring(links)
    await keyring.make("a")
    await keyring.make("a")

    with pytest.raises(TooManyKeys, match="revoke some"):
        await keyring.make("a")


async def test_the_oldest_of_those_that_were_revoked_make_room(links, monkeypatch):
    monkeypatch.setattr(access_keys, "MOST_KEYS", 3)
    monkeypatch.setattr(access_keys, "REVOKED_KEPT", 1)
    keys = AccessKeys(links)
    for at, id_ in enumerate("abc"):
        await keys.create(key(id_), {})
        await keys.change(key(id_), revoked(key(id_), NOW_MS + at), "key.revoked")

    await keys.create(key("d"), await known(links))

    assert set(await known(links)) == {"c", "d"}


async def test_each_change_is_an_event(links):
    events = Registry(links).events("0-0")
    keyring = Keyring(links)
    id_, _ = await keyring.make("a")
    await keyring.rotate(id_)
    await keyring.revoke(id_)

    found = [await anext(events) for _ in range(3)]

    assert [(one.kind, one.subject) for one in found] == [
        (f"key.{what}", id_) for what in ("created", "rotated", "revoked")
    ]
    await events.aclose()
