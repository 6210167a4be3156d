"""Jobs of ensembles move from partition to partition, whoever dies on the way."""

import asyncio

import pytest
from support.ensemble_job import PARTITIONS, Way, apart
from support.probe import LONG_MS
from support.processes.groups import ClusterGroup
from support.waiting import until

from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.roles.reaper import Reaper
from penstock.scheduler.store.keys import partition_keys, partition_of
from penstock.scheduler.store.link import Links

LARGE = b"x" * 100_000


async def leave(way, lease, at, payload=b"between"):
    """The worker dies as soon as the step is ended."""
    way.forward(lease, at, payload).close()
    await until(lambda: _is_moving(way))


async def _is_moving(way):
    return await way.places() == ["moving"]


async def carry(way, at):
    partition = partition_of(way.refs[at].model, PARTITIONS)
    return await way.queue.steps.carry_stranded(partition, older_ms=0)


class TestHandOver:
    @pytest.mark.parametrize("payload", [b"small", LARGE])
    async def test_a_job_whose_carrier_died_is_carried_on_once(self, far, payload):
        await far.enqueue()
        await leave(far, await far.lease(0), 0, payload)

        assert await far.state() == "moving"
        assert [await carry(far, 0), await carry(far, 0)] == [1, 0]
        lease = await far.lease(1)
        assert lease.payload == payload
        assert await far.claim(1) == []

    async def test_it_is_not_carried_before_its_carrier_is_given_up(self, far):
        await far.enqueue()
        await leave(far, await far.lease(0), 0)
        partition = partition_of(far.refs[0].model, PARTITIONS)

        assert await far.queue.steps.carry_stranded(partition, older_ms=LONG_MS) == 0

    async def test_a_late_carrier_doubles_nothing(self, far):
        await far.enqueue()
        lease = await far.lease(0)
        late = far.forward(lease, 0, LARGE)
        await until(lambda: _is_moving(far))
        await carry(far, 0)
        there = await far.lease(1)
        await late

        assert await far.claim(1) == []
        assert there.payload == LARGE
        assert (await far.counters(far.refs[1].model))["accepted"] == 1

    async def test_there_and_back(self, far):
        await far.enqueue()
        await far.moved(0)
        await far.moved(1)
        await far.settle(await far.lease(2), 2)

        assert await far.replies() == [("job", 0, "", b"between!")]
        assert (await far.counters(far.refs[0].model))["success_count"] == 2
        await far.conserved()

    async def test_a_job_that_came_back_before_it_was_forgotten_stays(self, far):
        await far.enqueue()
        await leave(far, await far.lease(0), 0)
        handoffs = await far.queue.steps._pending_handoffs(
            partition_keys(partition_of(far.refs[0].model, PARTITIONS)), (), 0
        )
        await carry(far, 0)
        await far.moved(1)
        # A second reaper, which had looked before: it carries, and forgets, once more.
        home = partition_keys(partition_of(far.refs[0].model, PARTITIONS))
        await far.queue.steps._deliver(home, handoffs, {"job": b"between"})

        assert await far.places() == ["ready"]
        assert len(await far.claim(2)) == 1

    async def test_an_old_carrier_does_not_forget_a_later_hop(self, far):
        """It had looked before the job went there, and back, and is on its way again."""
        first, second, _ = (ref.model for ref in far.refs)
        way = Way(far.links, far.queue, [first, second, first, second])
        await way.enqueue()
        await leave(way, await way.lease(0), 0)
        home = partition_keys(partition_of(first, PARTITIONS))
        handoffs = await way.queue.steps._pending_handoffs(home, (), 0)
        await carry(way, 0)
        await way.moved(1)
        await leave(way, await way.lease(2), 2)
        await way.queue.steps._deliver(home, handoffs, {"job": b"between"})

        assert await way.places() == ["moving"]
        await carry(way, 2)
        assert len(await way.claim(3)) == 1

    async def test_the_reaper_carries_on_what_nobody_carries(self, far):
        await far.enqueue()
        await leave(far, await far.lease(0), 0)
        reaping = asyncio.create_task(Reaper(far.queue).run())

        (lease,) = await until(lambda: far.claim(1))

        reaping.cancel()
        await asyncio.gather(reaping, return_exceptions=True)
        assert lease.payload == b"between"

    async def test_a_job_stays_until_its_large_payload_is_there(self, store):
        """The server of the next step is full: it takes the job, which is no more, and not this."""
        async with Links(store.url) as links:
            way = Way(links, await open_queue(links, PARTITIONS), apart(2))
            await way.enqueue()
            await leave(way, await way.lease(0), 0, LARGE)
            store.command("CONFIG SET maxmemory 1")
            await carry(way, 0)
            assert await way.places() == ["moving"]

            store.command("CONFIG SET maxmemory 0")
            await carry(way, 0)

            assert (await way.lease(1)).payload == LARGE

    async def test_cancelled_on_its_way_it_ends_on_arrival(self, far):
        await far.enqueue()
        await leave(far, await far.lease(0), 0)
        await far.cancel()
        await carry(far, 0)

        assert await far.places() == []
        assert await far.claim(1) == []
        await far.conserved()

    async def test_on_its_way_past_its_deadline_it_expires_with_a_reply(self, far):
        await far.enqueue(ttl_ms=300)
        await leave(far, await far.lease(0), 0)

        async def expired():
            await carry(far, 0)
            for partition in range(PARTITIONS):
                await far.queue.reap(partition)
            return await far.replies()

        await until(expired)
        ((job, code, _, _),) = await far.replies()
        assert (job, code) == ("job", 4)
        await far.conserved()


async def test_a_cluster_of_redis_carries_jobs_from_slot_to_slot():
    with ClusterGroup() as group:
        async with Links(group.url) as links:
            queue = await open_queue(links)
            assert queue.partitions == PARTITIONS
            first, second, third = apart(3)
            way = Way(links, queue, [first, second, third, first])
            await way.enqueue()
            for at in range(3):
                await way.moved(at, LARGE)
            await way.settle(await way.lease(3), 3)

            assert await way.replies() == [("job", 0, "", LARGE + b"!")]
            await way.conserved()
