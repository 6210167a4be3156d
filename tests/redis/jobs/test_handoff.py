"""Jobs of ensembles move from model to model: in one script, or from partition to partition."""

import asyncio
import itertools

import pytest
from support.probe import LONG_MS
from support.processes.groups import ClusterGroup
from support.waiting import until

from penstock.errors import Code
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.handoff import Destination, Step
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.types import ClaimTerms, Held, Move, NewJob, Outcome, Timing
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.replies.reader import replies_of
from penstock.scheduler.roles.reaper import Reaper
from penstock.scheduler.store.keys import partition_keys, partition_of
from penstock.scheduler.store.link import Links

LARGE = b"x" * 100_000
PARTITIONS = 16
ENDS = ("success_count", "fail_count", "expired", "cancelled", "dead")


def apart(count):
    """Names of models in partitions of their own."""
    found = {}
    for name in (f"m{n}" for n in itertools.count()):
        found.setdefault(partition_of(name, PARTITIONS), name)
        if len(found) == count:
            return list(found.values())
    raise AssertionError


TIMING = Timing(1, 20, 300)
UNLIMITED = QueueLimits()


class Way:
    """Some models, and a job of ensemble e that goes from one to the next."""

    def __init__(self, links, queue, models):
        self.links, self.queue = links, queue
        self.refs = [StageRef(model, 1, 0, "g") for model in models]
        self._nonces = itertools.count()

    async def enqueue(self, id_="job", **fields):
        first, *later = self.refs
        facts = {"priority": 0, "rows": 2, "ttl_ms": LONG_MS, "begin_within_ms": 0}
        facts |= {"payload": b"input", "ensemble": "e:1", "later": tuple(later)} | fields
        return await self.queue.enqueue(NewJob(id_, "gateway", first, **facts), QueueLimits())

    async def claim(self, at):
        terms = ClaimTerms(rows=8, lease_ms=LONG_MS)
        nonce = f"{next(self._nonces)}"
        return (await self.queue.claim_now(self.refs[at], f"worker-{at}", nonce, terms)).leases

    async def lease(self, at):
        (lease,) = await self.claim(at)
        return lease

    def forward(self, lease, at, payload=b"between", *, limits=UNLIMITED, priority=0, within_ms=0):
        to = Destination(self.refs[at + 1], limits)
        step = Step(self.refs[at], to, lease.rows, TIMING)
        move = Move(lease.id, 2, priority, within_ms, payload)
        return self.queue.steps.forward(lease.token, step, [move])

    async def moved(self, at, payload=b"between", **fields):
        """Bring the job that waits at a step to the next one."""
        assert await self.forward(await self.lease(at), at, payload, **fields) == [Held.FINE]

    async def settle(self, lease, at):
        outcome = Outcome(lease.id, Code.OK, "", lease.payload + b"!")
        return await self.queue.settle(lease.token, self.refs[at], 2, TIMING, [outcome])

    async def replies(self):
        found = []
        for partition in range(self.queue.partitions):
            keys = partition_keys(partition)
            key = keys.replies + "gateway"
            for _, fields in await self.links.to(keys.tag).command("XRANGE", key, "-", "+"):
                found += [(r.job, r.code, r.message, r.body) for r in replies_of(fields)]
        return found

    async def state(self, id_="job"):
        first, *later = (ref.model for ref in self.refs)
        return await self.queue.state(first, id_, *later)

    async def cancel(self, id_="job"):
        first, *later = (ref.model for ref in self.refs)
        await self.queue.cancel(first, id_, *later)

    async def counters(self, model):
        return await statistics_of(self.queue, model, 1, ensemble=model == "e")

    async def conserved(self):
        """What was accepted has ended, for the ensemble and each model."""
        for model in {"e", *(ref.model for ref in self.refs)}:
            found = await self.counters(model)
            ended = sum(found.get(name, 0) for name in ENDS)
            assert found.get("accepted", 0) == ended, (model, found)

    async def score(self, at, id_):
        """Its place in the order of a step's queue; None when it does not wait there."""
        keys = self.queue.keys_of(self.refs[at].model)
        return await self.links.to(keys.tag).command(
            "ZSCORE", keys.ready + self.refs[at].queue, id_
        )

    async def places(self, id_="job"):
        """The sets of all partitions that hold the job."""
        held = []
        for partition in range(self.queue.partitions):
            keys = partition_keys(partition)
            link = self.links.to(keys.tag)
            names = [keys.lease, keys.delay, keys.moving]
            names += [keys.ready + ref.queue for ref in dict.fromkeys(self.refs)]
            kinds = {name: name.rpartition("}:")[2].partition(":")[0] for name in names}
            scores = {name: await link.command("ZSCORE", name, id_) for name in names}
            held += [kinds[name] for name, score in scores.items() if score is not None]
        return held


@pytest.fixture(params=["together", "apart"])
async def way(request, each_redis_url):
    """Three models: in one partition, or each in another."""
    partitions = 1 if request.param == "together" else PARTITIONS
    async with Links(each_redis_url) as links:
        yield Way(links, await open_queue(links, partitions), apart(3))


class TestForward:
    @pytest.mark.parametrize("payload", [b"small", LARGE])
    async def test_a_job_goes_through_all_steps_and_is_answered_once(self, way, payload):
        await way.enqueue()
        await way.moved(0, payload)
        await way.moved(1, payload)
        lease = await way.lease(2)
        assert await way.settle(lease, 2) == [Held.FINE]

        assert lease.payload == payload
        assert lease.rows == 2
        assert await way.replies() == [("job", 0, "", payload + b"!")]
        await way.conserved()

    async def test_each_step_counts_for_its_model_and_all_of_it_for_the_ensemble(self, way):
        await way.enqueue()
        await way.moved(0)
        await way.moved(1)
        await way.settle(await way.lease(2), 2)

        steps = [await way.counters(ref.model) for ref in way.refs]
        whole = await way.counters("e")
        for found in (*steps, whole):
            assert (found["success_count"], found["execution_count"]) == (1, 1)
            assert found["inference_count"] == 2
        for found in steps:
            assert found["compute_infer_ns"] == 20
            assert found["batch:2:count"] == 1
        assert whole["compute_infer_ns"] == 60
        assert whole["queue_ns"] == sum(found["queue_ns"] for found in steps)
        assert whole["success_ns"] >= sum(found["success_ns"] for found in steps[1:])

    async def test_again_with_the_same_token_it_is_fine_and_moves_nothing(self, way):
        await way.enqueue()
        lease = await way.lease(0)
        first = await way.forward(lease, 0, LARGE)
        await way.forward(lease, 0, LARGE)

        assert first == [Held.FINE]
        assert len(await way.claim(1)) == 1
        assert (await way.counters(way.refs[0].model))["success_count"] == 1
        assert (await way.counters(way.refs[1].model))["accepted"] == 1

    async def test_only_the_owner_may(self, way):
        await way.enqueue()
        lease = await way.lease(0)
        await way.queue.give_back(way.refs[0].model, lease.token, ["job"])
        await way.lease(0)

        assert await way.forward(lease, 0, LARGE) == [Held.LOST]
        assert await way.claim(1) == []

    async def test_a_cancelled_job_ends_there(self, way):
        await way.enqueue()
        lease = await way.lease(0)
        await way.cancel()

        assert await way.forward(lease, 0) == [Held.CANCELLED]
        assert await way.places() == []
        await way.conserved()

    async def onward(self, way, id_, **how):
        """Bring a new job to the second model's queue, or find it full."""
        await way.enqueue(id_)
        await way.moved(0, **how)

    async def refused(self, way):
        assert {(code, text) for _, code, text, _ in await way.replies()} <= {
            (14, "Exceeds maximum queue size")
        }
        return [job for job, *_ in await way.replies()]

    async def test_the_next_queue_may_be_full(self, way):
        await self.onward(way, "one")
        await self.onward(way, "two", limits=QueueLimits(jobs=1))

        assert await self.refused(way) == ["two"]
        assert (await way.counters(way.refs[1].model))["refused_full"] == 1
        assert (await way.counters("e"))["fail_count"] == 1

    async def test_there_a_level_has_its_own_count(self, way):
        one = [QueueLimits(jobs=1, level=level) for level in range(3)]
        await self.onward(way, "one", priority=1, limits=one[1])
        await self.onward(way, "two", priority=2, limits=one[2])
        await self.onward(way, "three", priority=1, limits=one[1])

        assert await self.refused(way) == ["three"]

    async def test_there_bytes_are_counted_until_the_job_has_left(self, way):
        limits = QueueLimits(payload_bytes=len(LARGE))
        await self.onward(way, "one", payload=LARGE, limits=limits)
        await self.onward(way, "two", payload=LARGE, limits=limits)
        await way.moved(1)
        await self.onward(way, "three", payload=LARGE, limits=limits)

        assert await self.refused(way) == ["two"]

    @pytest.mark.parametrize("puts_off", [True, False])
    async def test_what_is_not_begun_there_in_time_is_put_off_or_expires(self, way, puts_off):
        limits = QueueLimits(puts_off=puts_off)
        await self.onward(way, "late", limits=limits, within_ms=1)
        await self.onward(way, "in time", limits=limits)

        async def claimed():
            return [lease.id for lease in await way.claim(1)]

        async def looked_after():
            for partition in range(way.queue.partitions):
                await way.queue.reap(partition)
            scores = [await way.score(1, id_) for id_ in ("late", "in time")]
            return scores[0] is None or scores[0] > scores[1]

        await until(looked_after)

        assert await claimed() == (["in time", "late"] if puts_off else ["in time"])
        expired = [] if puts_off else [("late", 14, "Request timeout expired", b"")]
        assert await way.replies() == expired

    async def test_a_waiting_job_is_found_and_cancelled_wherever_it_is(self, way):
        await way.enqueue()
        await way.moved(0)
        await way.moved(1)

        assert await way.state() == "waiting"
        assert await way.places() == ["ready"]
        await way.cancel()
        assert await way.places() == []
        assert await way.state() == "cancelled"
        await way.conserved()

    async def test_a_step_that_fails_counts_for_its_model_and_the_ensemble(self, way):
        await way.enqueue()
        await way.moved(0)
        lease = await way.lease(1)
        failed = Outcome("job", Code.INTERNAL, "broken", b"")
        await way.queue.settle(lease.token, way.refs[1], 2, Timing(), [failed])

        assert await way.replies() == [("job", 13, "broken", b"")]
        assert (await way.counters("e"))["fail_count"] == 1
        assert (await way.counters(way.refs[1].model))["fail_count"] == 1
        await way.conserved()

    async def test_enqueued_again_it_is_known_though_it_has_moved_on(self, way):
        await way.enqueue()
        await way.moved(0)

        assert await way.enqueue() in {"waiting", "moved"}
        assert await way.claim(0) == []


@pytest.fixture
async def far(each_redis_url):
    """Two models in two partitions, and a way there and back."""
    first, second = apart(2)
    async with Links(each_redis_url) as links:
        yield Way(links, await open_queue(links, PARTITIONS), [first, second, first])


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
