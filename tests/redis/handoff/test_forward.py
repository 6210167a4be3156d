"""Jobs of ensembles move from model to model: in one script, or from partition to partition."""

import pytest
from support.waiting import until

from penstock.errors import Code
from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.types import Held, Outcome, Timing

LARGE = b"x" * 100_000


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
