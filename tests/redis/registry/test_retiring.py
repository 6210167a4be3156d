"""What is no longer published retires, and is forgotten once nobody needs it."""

import pytest
from support.records import version

from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.snapshot import VersionId
from penstock.scheduler.store.link import Links


@pytest.fixture
async def registry(each_redis_url):
    async with Links(each_redis_url) as links:
        yield Registry(links)


def content(revision_id, number=1, model="m", **fields):
    return version(model=model, number=number, revision_id=revision_id, **fields)


async def outgoing(registry):
    return [one.record.revision_id for one in (await registry.snapshot()).outgoing]


async def test_a_replaced_content_retires_in_the_same_step(registry):
    await registry.publish("r", [content("old"), content("other", model="n")])
    count = await registry.publish("r", [content("new"), content("other", model="n")])
    snapshot = await registry.snapshot()

    assert count == 2
    assert [one.record.revision_id for one in snapshot.outgoing] == ["old"]
    assert snapshot.versions[VersionId("m", 1)].revision_id == "new"
    assert snapshot.since_ms[VersionId("m", 1)] == snapshot.outgoing[0].since_ms
    assert snapshot.since_ms[VersionId("n", 1)] <= snapshot.outgoing[0].since_ms


async def test_a_change_that_leaves_the_content_as_it_is_retires_nothing(registry):
    await registry.publish("r", [content("same")])
    before = (await registry.snapshot()).since_ms
    await registry.publish("r", [content("same", replicas=5)])
    snapshot = await registry.snapshot()

    assert snapshot.versions[VersionId("m", 1)].replicas == 5
    assert snapshot.since_ms == before
    assert not snapshot.outgoing


async def test_what_comes_back_does_not_retire_any_longer(registry):
    await registry.publish("r", [content("old")])
    await registry.publish("r", [content("new")])
    await registry.publish("r", [content("old")])

    assert await outgoing(registry) == ["new"]


async def test_a_record_without_content_just_goes(registry):
    await registry.publish("r", [version(model="m", error="broken")])
    await registry.publish("r", [])
    snapshot = await registry.snapshot()

    assert not snapshot.outgoing
    assert not snapshot.since_ms


async def test_a_retired_content_is_forgotten_once(registry):
    await registry.publish("r", [content("old")])
    await registry.publish("r", [])
    gone = (await registry.snapshot()).outgoing

    assert [await registry.retire(gone), await registry.retire(gone)] == [1, 0]
    assert await outgoing(registry) == []


async def test_a_content_that_came_back_meanwhile_stays(registry):
    await registry.publish("r", [content("old")])
    await registry.publish("r", [])
    seen = (await registry.snapshot()).outgoing
    await registry.publish("r", [content("old")])

    assert await registry.retire(seen) == 0
    assert list((await registry.snapshot()).versions) == [VersionId("m", 1)]


async def test_a_content_that_retired_again_meanwhile_stays(registry):
    await registry.publish("r", [content("old")])
    await registry.publish("r", [])
    (seen,) = (await registry.snapshot()).outgoing

    assert await registry.retire([seen._replace(since_ms=seen.since_ms - 1)]) == 0
    assert await outgoing(registry) == ["old"]
