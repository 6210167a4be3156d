"""The keyspace is what its first user made it."""

import asyncio

import pytest

from penstock.errors import StoreUnsuitable
from penstock.scheduler.keys import RegistryKeys, partition_of
from penstock.scheduler.keyspace import SCHEMA, open_queue
from penstock.scheduler.link import Links


async def test_one_server_has_one_partition_unless_more_are_wanted(each_redis_url):
    async with Links(each_redis_url) as links:
        assert (await open_queue(links)).partitions == 1


async def test_the_first_fixes_the_partitions_for_all_later_ones(each_redis_url):
    async with Links(each_redis_url) as links:
        first = await open_queue(links, 4)
        later = [await open_queue(links, wanted) for wanted in (None, 16)]

    assert first.partitions == 4
    assert [queue.partitions for queue in later] == [4, 4]


async def test_of_many_that_come_at_once_one_is_first(each_redis_url):
    async with Links(each_redis_url) as links:
        queues = await asyncio.gather(*(open_queue(links, wanted) for wanted in range(1, 20)))

    assert len({queue.partitions for queue in queues}) == 1


async def test_a_keyspace_of_another_schema_is_refused(each_redis_url):
    async with Links(each_redis_url) as links:
        await open_queue(links)
        await links.to(RegistryKeys.tag).command("HSET", RegistryKeys.keyspace, "schema", 99)

        with pytest.raises(StoreUnsuitable, match=f"has schema 99, this release needs {SCHEMA}"):
            await open_queue(links)


async def test_a_server_that_refuses_scripts_is_refused(store):
    async with Links(store.url) as links:
        store.command("ACL SETUSER default -eval -evalsha")

        with pytest.raises(StoreUnsuitable, match="Penstock's scripts do not run here"):
            await open_queue(links)


async def test_a_models_partition_follows_from_its_name(redis_url):
    async with Links(redis_url) as links:
        queue = await open_queue(links, 7)
        tags = {name: queue.keys_of(name).tag for name in ("digits", "letters", "ü")}

    assert tags == {name: f"{{p{partition_of(name, 7):02d}}}" for name in tags}
