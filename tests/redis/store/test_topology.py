"""Where Redis is: URLs, and the queue on a real Sentinel group and a real Cluster."""

import asyncio
import os
import signal

import pytest
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from support.probe import Probe
from support.processes.groups import ClusterGroup, SentinelGroup
from support.waiting import until

from penstock.errors import InvalidConfiguration, StoreUnavailable
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.types import Held
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.roles.reaper import Reaper
from penstock.scheduler.store import topology
from penstock.scheduler.store.keys import partition_keys, partition_tag
from penstock.scheduler.store.keyspace import CLUSTER_PARTITIONS
from penstock.scheduler.store.link import Link, Links
from penstock.scheduler.store.topology import topology_of


@pytest.fixture(scope="module")
def cluster_group():
    with ClusterGroup() as group:
        yield group


@pytest.fixture
def redis_cluster(cluster_group):
    """An empty Cluster of three primaries."""
    cluster_group.empty()
    return cluster_group


@pytest.fixture
def sentinel_group():
    """A primary and a replica of the test's own, watched by a Sentinel."""
    with SentinelGroup() as group:
        yield group


# URLs


@pytest.mark.parametrize(
    ("url", "kind", "facts"),
    [
        ("redis://host", Connection, {"host": "host", "port": 6379, "db": 0}),
        ("redis://host:7/3", Connection, {"host": "host", "port": 7, "db": 3}),
        ("redis://:pa%40ss@host", Connection, {"username": None, "password": "pa@ss"}),
        ("redis://me:pass@host", Connection, {"username": "me", "password": "pass"}),
        ("rediss://host:7", SSLConnection, {"host": "host", "port": 7}),
        ("unix:///run/a%20b.sock", UnixDomainSocketConnection, {"path": "/run/a b.sock"}),
    ],
)
async def test_a_url_names_one_server(url, kind, facts):
    where = topology_of(url)

    connection = await where.connection("{p00}")

    assert type(connection) is kind
    assert {name: getattr(connection, name) for name in facts} == facts
    assert not where.clustered
    # Link sends again by itself, and reads block on purpose.
    assert connection.retry.get_retries() == 0
    assert connection.socket_timeout is None


@pytest.mark.parametrize(
    ("url", "kind", "clustered"),
    [
        ("redis+sentinel://h1,h2:2/main", topology.SentinelGroup, False),
        ("rediss+sentinel://me:pass@h1:1/main/3", topology.SentinelGroup, False),
        ("redis+cluster://h1,h2:2", topology.Cluster, True),
        ("rediss+cluster://:pass@h1:1", topology.Cluster, True),
    ],
)
async def test_a_url_names_a_group(url, kind, clustered):
    where = topology_of(url)

    assert type(where) is kind
    assert where.clustered == clustered
    await where.close()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "must specify one of the following schemes"),
        ("host:6379", "must specify one of the following schemes"),
        ("http://host", "also understood: redis+sentinel"),
        ("redis://host:port", "could not be cast to integer"),
        ("memcached+cluster://host", "must specify one of the following schemes"),
        ("redis+sentinel://h1,h2", "name the service"),
        ("redis+sentinel://h1,h2/", "name the service"),
        ("redis+sentinel://h1/main/first", "'first' is no database's number"),
        ("redis+sentinel://h1:port/main", "'h1:port' is not host or host:port"),
        ("redis+cluster://h1,,h2", "'' is not host or host:port"),
        ("redis+cluster://", "'' is not host or host:port"),
    ],
)
async def test_what_is_no_such_url_is_refused_with_the_reason(url, text):
    with pytest.raises(InvalidConfiguration) as raised:
        topology_of(url)

    assert text in str(raised.value)
    assert "--redis" in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://:secret@host",
        "redis+sentinel://:secret@h",
        "redis+cluster://:secret@h:x",
        "redis://:secret/1@h",
        "redis://me:1#secret@h",
        "redis+cluster://:secret?@h",
    ],
)
async def test_a_refused_url_does_not_tell_its_password(url):
    with pytest.raises(InvalidConfiguration) as raised:
        topology_of(url)

    assert "secret" not in str(raised.value)


# the queue on several servers


async def through(links, models):
    """Send one job for each model all the way; the queue, and the replies by job."""
    queue = await open_queue(links)
    replies = {}
    reader = ReplyReader(
        links, queue.partitions, "gateway-1", lambda reply: replies.update({reply.job: reply})
    )
    reading = asyncio.create_task(reader.run())
    probe = Probe(links, queue)
    for model in models:
        ref = StageRef(model, 1, 0)
        await probe.enqueue(f"of {model}", ref=ref)
        lease = await probe.lease(ref=ref)
        assert await probe.settle(lease, ref=ref) == [Held.FINE]
    await until(lambda: len(replies) == len(models))
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    return queue, replies


MODELS = [f"model-{i}" for i in range(12)]


async def test_jobs_go_through_a_cluster_on_all_its_servers(redis_cluster):
    async with Links(redis_cluster.url) as links:
        queue, replies = await through(links, MODELS)

    tags = {queue.keys_of(model).tag for model in MODELS}
    assert queue.partitions == CLUSTER_PARTITIONS
    assert {replies[f"of {model}"].body for model in MODELS} == {
        f"input of of {model}!".encode() for model in MODELS
    }
    assert {redis_cluster.owner(tag) for tag in tags} == {0, 1, 2}


async def test_all_partitions_of_a_cluster_are_reaped(redis_cluster):
    async with Links(redis_cluster.url) as links:
        queue = await open_queue(links)
        probe = Probe(links, queue)
        for model in MODELS:
            await probe.enqueue(f"of {model}", ref=StageRef(model, 1, 0), ttl_ms=1)
        expired = 0

        async def all_expired():
            nonlocal expired
            for partition in range(queue.partitions):
                expired += (await queue.reap(partition)).expired
            return expired == len(MODELS)

        await until(all_expired)


async def test_a_server_that_is_stopped_holds_up_nothing_on_the_others():
    """Nobody misses it for 15 s, as on a Cluster that was set up as usual."""
    with ClusterGroup(node_timeout_ms=15_000) as group:
        async with Links(group.url) as links:
            queue = await open_queue(links)
            reader = ReplyReader(links, queue.partitions, "gateway-1", print)
            tasks = [asyncio.create_task(reader.run()), asyncio.create_task(Reaper(queue).run())]
            tags = [partition_tag(partition) for partition in range(queue.partitions)]
            stopped = group.owner(tags[0])
            others = [i for i, tag in enumerate(tags) if group.owner(tag) != stopped]
            await until(lambda: all_heard(links, range(queue.partitions), {}))
            os.kill(group.stores[stopped].process.pid, signal.SIGSTOP)
            try:
                for _ in range(2):
                    # What was under way is not counted.
                    before = await heard(links, others)
                    await until(lambda b=before: all_heard(links, others, b), 4)
            finally:
                os.kill(group.stores[stopped].process.pid, signal.SIGCONT)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def heard(links, partitions):
    """When a gateway, and a reaper, were last heard of in each partition."""

    async def in_one(partition):
        keys = partition_keys(partition)
        link = links.to(keys.tag)
        told = link.submit("ZSCORE", keys.gateways, "gateway-1")
        return await told, await link.command("HGET", keys.grace, "reaped")

    return dict(zip(partitions, await asyncio.gather(*map(in_one, partitions)), strict=True))


async def all_heard(links, partitions, before):
    """Whether both were heard of again, everywhere."""
    now = await heard(links, partitions)
    return all(
        at is not None and at != was
        for partition, both in now.items()
        for at, was in zip(both, before.get(partition, (None, None)), strict=True)
    )


async def test_a_slot_that_moves_is_followed(redis_cluster):
    tag = partition_tag(0)
    before = redis_cluster.owner(tag)
    after = (before + 1) % 3
    source, target = redis_cluster.clients[before], redis_cluster.clients[after]
    slot = source.execute_command("CLUSTER", "KEYSLOT", tag)
    ids = [client.execute_command("CLUSTER", "MYID") for client in (source, target)]
    link = Link(topology_of(redis_cluster.url), tag, patience_s=20)

    assert await link.command("INCR", f"{tag}:counter") == 1
    target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    # On its way, nobody may have it: what is not at the source is asked for elsewhere.
    waiting = asyncio.create_task(link.command("INCR", f"{tag}:other"))
    await until(lambda: link.connections_made >= 2)
    target_port = target.config_get("port")["port"]
    source.execute_command("MIGRATE", "127.0.0.1", target_port, f"{tag}:counter", 0, 5000)
    for client in (target, source):
        client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])

    assert await waiting == 1
    assert await link.command("INCR", f"{tag}:counter") == 2
    await link.close()
    await link._topology.close()


async def test_a_cluster_that_comes_back_is_found_again(redis_cluster):
    async with Links(redis_cluster.url, patience_s=20) as links:
        link = links.to("{p00}")
        await link.command("PING")
        for store in redis_cluster.stores:
            store.kill()
        waiting = asyncio.create_task(link.command("PING"))
        await until(lambda: link.down_for_s() > 0.3)
        for store in redis_cluster.stores:
            store.start()

        assert await waiting == b"PONG"
    await asyncio.to_thread(redis_cluster.wait_until_formed)


async def test_a_cluster_that_is_not_there_is_unavailable():
    with pytest.raises(StoreUnavailable, match="the cluster has no primary"):
        async with Links("redis+cluster://127.0.0.1:1,127.0.0.1:2"):
            pass


async def test_jobs_go_through_the_primary_that_a_sentinel_names(sentinel_group):
    async with Links(sentinel_group.url) as links:
        queue, replies = await through(links, MODELS)

    assert queue.partitions == 1
    assert len(replies) == len(MODELS)


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_promoted_replica_is_found(sentinel_group, fault):
    link = Link(topology_of(sentinel_group.url), "{p00}", silence_s=0.5, patience_s=30)
    await link.command("SET", "key", "before")
    await link.command("WAIT", 1, 5000)
    first = sentinel_group.primary()

    os.kill(first.process.pid, fault)
    written = await link.command("SET", "after", "yes")

    assert written == b"OK"
    assert await link.command("GET", "key") == b"before"
    assert sentinel_group.primary() is not first
    await link.close()
    await link._topology.close()


async def test_sentinels_that_are_not_there_are_unavailable():
    asked = [0, 0]

    def hangs_up(place):
        async def meet(_, writer):
            asked[place] += 1
            writer.close()

        return asyncio.start_server(meet, "127.0.0.1", 0)

    async with await hangs_up(0) as one, await hangs_up(1) as other:
        hosts = ",".join(f"127.0.0.1:{s.sockets[0].getsockname()[1]}" for s in (one, other))
        with pytest.raises(StoreUnavailable) as raised:
            async with Links(f"redis+sentinel://{hosts}/main"):
                pass

    assert str(raised.value) == (
        "no Sentinel names a primary for 'main': none answers, or none knows it; start them, "
        "or correct --redis"
    )
    assert asked == [1, 1]


async def test_a_service_that_no_sentinel_knows_is_unavailable(sentinel_group):
    url = sentinel_group.url.rpartition("/")[0] + "/other"

    with pytest.raises(StoreUnavailable, match="no Sentinel names a primary for 'other'"):
        async with Links(url):
            pass
