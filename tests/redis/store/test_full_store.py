"""A store whose memory is full takes no new jobs, and everything else goes on."""

import pytest
from support.probe import FIRST, LONG_MS, SECOND, Probe, job
from support.processes.stores import redis, valkey

from penstock.errors import Code, OutOfMemory
from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.types import Chunk, Held, Timing
from penstock.scheduler.replies.chunks import Chunks
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.store.link import Links


@pytest.fixture(params=[valkey, redis])
async def full(request):
    """A queue with two jobs for each way on, on a store that takes nothing more."""
    server = request.param("--maxmemory", "0", "--maxmemory-policy", "noeviction")
    if server is None:
        pytest.skip("redis-server is not installed")
    with server:
        async with Links(server.url) as links:
            probe = Probe(links, await open_queue(links))
            await ReplyReader(links, 1, "gateway-1", print).heartbeat()
            await probe.enqueue(*(f"job-{i}" for i in range(4)), payload=b"x" * 1000)
            # Even the scripts themselves are not known yet.
            await probe.command("SCRIPT", "FLUSH")
            await probe.command("CONFIG", "SET", "maxmemory", "1")
            yield probe


async def test_a_full_store_refuses_new_jobs_and_keeps_nothing_of_them(full):
    before = await full.names()

    answers = await full.offer(job("more"), limits=QueueLimits(payload_bytes=1 << 30))

    assert [type(answer) for answer in answers] == [OutOfMemory]
    assert answers[0].code is Code.RESOURCE_EXHAUSTED
    assert await full.names() == before


async def test_a_full_store_can_be_drained(full):
    claim = await full.claim(rows=3)
    first, second, third = claim.leases
    renewed = await full.queue.renew(FIRST.model, [(first.id, first.token)], LONG_MS)

    assert renewed == [Held.FINE]
    assert await full.settle(first) == [Held.FINE]
    assert await full.advance(second) == [Held.FINE]
    assert await full.settle(await full.lease(ref=SECOND), ref=SECOND) == [Held.FINE]
    assert await full.queue.give_back(FIRST.model, third.token, [third.id]) == [Held.FINE]
    await full.queue.cancel(FIRST.model, third.id)
    await full.lease("worker-2")
    assert (await full.queue.release_leases_of(FIRST.model, "worker-2")).requeued == 1
    await full.lease("worker-2")
    assert (await full.queue.release_leases_of(FIRST.model, "worker-2")).dead == 1
    assert await full.ends() == {"success_count": 2, "cancelled": 1, "dead": 1}


async def test_a_part_of_a_reply_needs_memory_and_its_end_does_not(full):
    lease = await full.lease(rows=1)
    chunks = Chunks(full.queue)

    with pytest.raises(OutOfMemory):
        await chunks.add(FIRST, lease.token, Chunk(lease.id, 1, b"digest", b"part"), Timing())

    assert await chunks.ack(FIRST.model, lease.id, 1, 4) == 1
    assert await full.settle(lease) == [Held.FINE]
    assert [code for _, code, _, _ in await full.replies()] == [Code.OK]


async def test_a_full_store_still_ends_what_is_late_or_orphaned(full):
    reader = ReplyReader(full.links, 1, "gateway-1", print)
    await reader.heartbeat()
    await reader.heartbeat(leave=True)

    assert (await full.queue.reap(0)).orphaned == 4
    assert await full.members(full.keys.deadline) == []


async def test_a_worker_can_be_told_to_stop_although_the_store_is_full(full):
    await full.queue.wake(FIRST, "worker-1")

    assert await full.names(full.keys.bells + "*@worker-1") == set()


async def test_jobs_are_accepted_again_once_there_is_room(full):
    await full.command("CONFIG", "SET", "maxmemory", "0")

    assert await full.enqueue("more") == [None]
