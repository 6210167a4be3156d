"""The keyspace is what its first user made it."""

import asyncio

import pytest

from penstock.errors import StoreUnsuitable
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.keys import RegistryKeys, partition_of
from penstock.scheduler.store.keyspace import SCHEMA, SCHEMA_SILENT_MS
from penstock.scheduler.store.link import Links


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


async def used_by(links, schema, *, live=False):
    """As if a release of *schema* had been here, or still were."""
    command = links.to(RegistryKeys.tag).command
    await command("HSET", RegistryKeys.keyspace, "schema", schema)
    await command("DEL", RegistryKeys.schemas)
    if live:
        time_s, _ = await command("TIME")
        await command("ZADD", RegistryKeys.schemas, int(time_s) * 1000, schema)


async def newest(links):
    command = links.to(RegistryKeys.tag).command
    return int(await command("HGET", RegistryKeys.keyspace, "schema"))


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(("apart", "kept"), [(-1, SCHEMA), (0, SCHEMA), (1, SCHEMA + 1)])
async def test_schemas_that_differ_by_one_go_together(each_redis_url, apart, kept, live):
    """And the keyspace remembers the newest of them."""
    async with Links(each_redis_url) as links:
        await open_queue(links)
        await used_by(links, SCHEMA + apart, live=live)

        assert (await open_queue(links)).partitions == 1
        assert await newest(links) == kept


@pytest.mark.parametrize(("apart", "between"), [(2, 1), (98, 1), (-2, -1)])
async def test_a_keyspace_of_another_schema_is_refused(each_redis_url, apart, between):
    async with Links(each_redis_url) as links:
        await open_queue(links)
        await used_by(links, SCHEMA + apart)

        with pytest.raises(StoreUnsuitable) as caught:
            await open_queue(links)

        assert str(caught.value) == (
            f"the keyspace has schema {SCHEMA + apart}, this release has {SCHEMA}, which goes "
            f"together with {SCHEMA - 1} to {SCHEMA + 1}: use another database, or run a release "
            f"of schema {SCHEMA + between} on it first"
        )
        # Nothing has been touched.
        assert await newest(links) == SCHEMA + apart


async def test_processes_of_another_schema_are_not_joined(each_redis_url):
    """Although the keyspace itself would do: both sorts go together with what lies between."""
    async with Links(each_redis_url) as links:
        await open_queue(links)
        await used_by(links, SCHEMA + 2, live=True)
        await links.to(RegistryKeys.tag).command(
            "HSET", RegistryKeys.keyspace, "schema", SCHEMA + 1
        )

        with pytest.raises(StoreUnsuitable, match=f"processes of schema {SCHEMA + 2} run here"):
            await open_queue(links)


async def test_a_schema_that_was_not_heard_of_for_long_is_in_use_no_more(each_redis_url):
    async with Links(each_redis_url) as links:
        await open_queue(links)
        await used_by(links, SCHEMA)
        command = links.to(RegistryKeys.tag).command
        time_s, _ = await command("TIME")
        long_ago_ms = int(time_s) * 1000 - SCHEMA_SILENT_MS - 1
        await command("ZADD", RegistryKeys.schemas, long_ago_ms, SCHEMA + 7)

        await open_queue(links)

        assert await command("ZRANGE", RegistryKeys.schemas, 0, -1) == [b"%d" % SCHEMA]


async def test_every_process_says_its_schema_again_and_again(each_redis_url):
    async with Links(each_redis_url) as links:
        await open_queue(links)
        await links.to(RegistryKeys.tag).command("DEL", RegistryKeys.schemas)

        await Registry(links).announce(pb.Scheduler(id="s"))

        found = await links.to(RegistryKeys.tag).command("ZRANGE", RegistryKeys.schemas, 0, -1)
        assert found == [b"%d" % SCHEMA]


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
