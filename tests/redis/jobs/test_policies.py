"""What each level may have waiting, and what becomes of jobs that were not begun in time."""

from support.probe import LONG_MS, job
from support.waiting import until

from penstock.errors import Code, QueueFull
from penstock.models.config.policies import QueueLimits

PUTS_OFF = QueueLimits(puts_off=True)
SOON_MS = 1
"""Over by the time that anybody looks."""


def ids(claim):
    return [lease.id for lease in claim.leases]


async def late(probe, *names, **changes):
    """Jobs that were not begun in time, and are to be served all the same."""
    await probe.enqueue(*names, limits=PUTS_OFF, begin_within_ms=SOON_MS, **changes)
    for name in names:
        due_ms = int((await probe.record(name))["put_off"])

        async def over(due_ms=due_ms):
            seconds, microseconds = await probe.command("TIME")
            return int(seconds) * 1000 + int(microseconds) // 1000 > due_ms

        await until(over)


class TestLimits:
    async def test_a_level_has_its_own_count(self, probe):
        two = [QueueLimits(jobs=2, level=level) for level in (1, 2)]
        await probe.enqueue("a", "b", priority=1, limits=two[0])

        refused = await probe.offer(job("c", priority=1), limits=two[0])
        taken = await probe.offer(*(job(id_, priority=2) for id_ in "de"), limits=two[1])
        full = await probe.offer(job("f", priority=2), limits=two[1])

        assert [type(one) for one in (*refused, *taken, *full)] == [
            QueueFull,
            type(None),
            type(None),
            QueueFull,
        ]

    async def test_within_one_call_as_well(self, probe):
        limit = QueueLimits(jobs=1, level=1)

        answers = await probe.offer(*(job(id_, priority=1) for id_ in "ab"), limits=limit)

        assert [type(one) for one in answers] == [type(None), QueueFull]

    async def test_what_was_put_off_still_counts(self, probe):
        await late(probe, "a", priority=1)
        await probe.reaped(lambda _: True)

        (refused,) = await probe.offer(
            job("b", priority=1), limits=QueueLimits(jobs=1, level=1, puts_off=True)
        )

        assert isinstance(refused, QueueFull)

    async def test_without_a_level_all_count(self, probe):
        await probe.enqueue("a", priority=2)

        (refused,) = await probe.offer(job("b", priority=1), limits=QueueLimits(jobs=1))

        assert isinstance(refused, QueueFull)


class TestPutOff:
    async def test_it_goes_behind_its_level_and_before_the_next(self, probe):
        await late(probe, "late", priority=1, ttl_ms=LONG_MS - 1000)
        await probe.enqueue("in time", priority=1)
        await probe.enqueue("next level", priority=2)

        assert ids(await probe.claim()) == ["in time", "late", "next level"]

    async def test_the_reaper_sees_to_it_as_well(self, probe):
        await late(probe, "late", priority=1, ttl_ms=LONG_MS - 1000)
        await probe.enqueue("in time", priority=1)

        async def behind():
            await probe.queue.reap(0)
            return await probe.waiting() == ["in time", "late"]

        await until(behind)

        assert ids(await probe.claim()) == ["in time", "late"]

    async def test_several_keep_their_order(self, probe):
        for place in range(20):
            await late(probe, f"late {place:02d}", priority=1, ttl_ms=LONG_MS - 5000 + 10 * place)
        await probe.enqueue(*(f"in time {place}" for place in range(3)), priority=1)

        first = await probe.claim(rows=3)
        rest = await probe.claim(rows=30)

        assert {name[:7] for name in ids(first)} == {"in time"}
        assert ids(rest) == [f"late {place:02d}" for place in range(20)]

    async def test_a_model_without_levels_does_the_same(self, probe):
        await late(probe, "late", priority=0, ttl_ms=LONG_MS - 1000)
        await probe.enqueue("in time", priority=0)

        assert ids(await probe.claim()) == ["in time", "late"]

    async def test_it_is_put_off_once_and_then_ends_by_its_deadline_alone(self, probe):
        await late(probe, "late", priority=1)
        await probe.reaped(lambda _: True)
        await probe.enqueue("later", priority=1, limits=PUTS_OFF, begin_within_ms=LONG_MS)

        lease = await probe.lease(rows=1)
        await probe.settle(lease)

        assert lease.id == "later"
        assert ids(await probe.claim()) == ["late"]
        assert (await probe.ends()) == {"success_count": 1}

    async def test_its_deadline_still_ends_it(self, probe):
        await probe.enqueue("late", limits=PUTS_OFF, begin_within_ms=SOON_MS, ttl_ms=200)

        reaped = await probe.reaped(lambda sums: sums.expired)

        assert reaped.expired == 1
        ((id_, code, message, _),) = await probe.replies()
        assert (id_, code, message) == ("late", Code.DEADLINE_EXCEEDED, "the deadline passed")

    async def test_one_that_is_begun_in_time_is_as_any_other(self, probe):
        await probe.enqueue("a", priority=1, limits=PUTS_OFF, begin_within_ms=LONG_MS)

        lease = await probe.lease()
        score = await probe.command("ZSCORE", probe.keys.deadline, "a")

        assert lease.id == "a"
        assert int(float(score)) == int((await probe.record("a"))["deadline"])

    async def test_one_that_was_given_back_unbegun_may_still_be_put_off(self, probe):
        await probe.enqueue("a", priority=1, limits=PUTS_OFF, begin_within_ms=LONG_MS // 2)
        lease = await probe.lease()

        await probe.queue.give_back("digits", lease.token, ["a"])
        score = await probe.command("ZSCORE", probe.keys.deadline, "a")

        assert int(float(score)) == int((await probe.record("a"))["put_off"])


async def test_without_it_who_was_not_begun_in_time_is_refused(probe):
    await probe.enqueue("late", begin_within_ms=SOON_MS)

    reaped = await probe.reaped(lambda sums: sums.expired)

    assert reaped.expired == 1
    ((_, code, message, _),) = await probe.replies()
    assert (code, message) == (Code.UNAVAILABLE, "Request timeout expired")
