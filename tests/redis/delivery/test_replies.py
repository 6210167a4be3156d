"""Replies on their way back to the gateway that waits for them."""

import asyncio
import contextlib

import pytest
from support.probe import FIRST, Probe
from support.waiting import until

from penstock.errors import Code
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.types import Reply
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.store.keys import partition_keys
from penstock.scheduler.store.link import Links


@contextlib.asynccontextmanager
async def reading(probe, gateway="gateway-1"):
    """The replies as they are delivered."""
    read = []
    reader = ReplyReader(probe.links, probe.queue.partitions, gateway, read.append)
    task = asyncio.create_task(reader.run())
    try:
        yield read
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def answered(probe, *ids, **changes):
    await probe.enqueue(*ids, **changes)
    claim = await probe.claim(rows=len(ids))
    await probe.settle(*claim.leases)


def ids_of(read):
    return [reply.job for reply in read]


async def test_a_reply_arrives_as_it_was_settled(probe):
    async with reading(probe) as read:
        await answered(probe, "a", payload=b"\xff\x00")
        await probe.enqueue("b")
        await probe.settle(await probe.lease(), code=Code.INTERNAL)
        await until(lambda: len(read) == 2)

    assert read[0] == Reply("a", Code.OK, "", b"\xff\x00!")
    assert (read[1].job, read[1].code, read[1].message) == ("b", Code.INTERNAL, "failed")


async def test_replies_arrive_in_the_order_in_which_the_jobs_ended(probe):
    ids = [f"job-{i:03}" for i in range(600)]
    await probe.enqueue(*ids)
    for start in range(0, 600, 200):
        claim = await probe.claim(rows=200)
        await probe.settle(*reversed(claim.leases))
        assert len(claim.leases) == 200, start
    expected = [id_ for id_, *_ in await probe.replies()]

    async with reading(probe) as read:
        await until(lambda: len(read) == 600)

    assert ids_of(read) == expected


async def test_what_was_read_is_trimmed(probe):
    async with reading(probe) as read:
        await answered(probe, "a", "b", "c")
        await until(lambda: len(read) == 3)

        async def trimmed():
            return await probe.command("XLEN", probe.keys.replies + "gateway-1") == 0

        await until(trimmed)
        await answered(probe, "d")
        await until(lambda: len(read) == 4)

    assert ids_of(read) == ["a", "b", "c", "d"]


async def test_a_gateway_reads_its_own_replies_only(probe):
    async with reading(probe, "gateway-1") as first, reading(probe, "gateway-2") as second:
        await answered(probe, "a", gateway="gateway-1")
        await answered(probe, "b", gateway="gateway-2")
        await until(lambda: first and second)

    assert (ids_of(first), ids_of(second)) == (["a"], ["b"])


async def test_replies_wait_for_a_reader_that_comes_later(probe):
    await answered(probe, "a")

    async with reading(probe) as read:
        await until(lambda: read)

    assert ids_of(read) == ["a"]


async def test_an_unread_stream_goes_by_itself(probe):
    await answered(probe, "a")

    assert 100_000 < await probe.ttl_ms(probe.keys.replies + "gateway-1") <= 120_000


async def test_a_reading_gateway_counts_as_alive(probe):
    async with reading(probe):
        await until(lambda: probe.members(probe.keys.gateways))

    assert await probe.members(probe.keys.gateways) == ["gateway-1"]


async def test_a_word_of_the_gateway_keeps_its_stream(probe):
    await answered(probe, "a")
    stream = probe.keys.replies + "gateway-1"
    await probe.command("PEXPIRE", stream, 50_000)

    await ReplyReader(probe.links, 1, "gateway-1", print).heartbeat()

    assert await probe.ttl_ms(stream) > 100_000


async def test_a_reader_survives_a_restart_of_the_store(store, own_probe):
    async with reading(own_probe) as read:
        await answered(own_probe, "before")
        await until(lambda: read)
        store.kill()
        store.start()
        await answered(own_probe, "after")
        await until(lambda: "after" in ids_of(read))

    # At least once, and in order.
    assert list(dict.fromkeys(ids_of(read))) == ["before", "after"]


async def test_a_reply_that_a_stale_store_repeats_or_reorders_still_arrives(store, own_probe):
    """A promoted replica may be behind, and its clock as well."""
    stream = own_probe.keys.replies + "gateway-1"
    words = ("id", "a", "code", "0", "message", "", "body", "")
    async with reading(own_probe) as read:
        await own_probe.command("XADD", stream, "9999999999999-0", *words)
        await until(lambda: read)
        store.kill()
        store.start()
        await own_probe.command("DEL", stream)
        await own_probe.command("XADD", stream, "1-1", *("id", "b"), *words[2:])
        await until(lambda: "b" in ids_of(read))

    assert set(ids_of(read)) == {"a", "b"}


@pytest.mark.parametrize("partitions", [1, 5])
async def test_replies_of_all_partitions_are_read(redis_url, partitions):
    async with Links(redis_url) as links:
        queue = await open_queue(links, partitions)
        probe = Probe(links, queue)
        models = [f"model-{i}" for i in range(20)]
        async with reading(probe) as read:
            for model in models:
                ref = StageRef(model, 1, 0)
                await probe.enqueue(f"of {model}", ref=ref)
                await probe.settle(await probe.lease(ref=ref), ref=ref)
            await until(lambda: len(read) == len(models))

        used = {queue.keys_of(model).tag for model in models}
        assert sorted(ids_of(read)) == sorted(f"of {model}" for model in models)
        assert used == {partition_keys(i).tag for i in range(partitions)}
        assert FIRST.model not in models
