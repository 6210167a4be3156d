"""Shared replies: one job for all who ask the same, and its reply for those who come later."""

import time

import pytest
from support.clients.sharers import Sharers, content, key
from support.probe import FIRST, LONG_MS, Probe
from support.processes.proxy import Proxy
from support.waiting import until

from penstock.errors import Code, KeyReused, OutOfMemory
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.shared_replies import Lead, Spent
from penstock.scheduler.jobs.types import Reply
from penstock.scheduler.store.link import Links

BOTH = pytest.mark.parametrize("shared", [content(), key()], ids=["content", "key"])


@BOTH
async def test_all_who_wait_are_told_once_for_each_gateway(probe, sharers, shared):
    await sharers.lead(shared, "a")
    assert await sharers.join(shared, "b") is None
    assert await sharers.join(shared, "c", "gateway-2") is None

    await probe.settle(await probe.lease())

    (first,) = await probe.replies("gateway-1")
    assert sorted(first[0].split()) == ["a", "b"]
    assert first[1:] == (Code.OK, "", b"input of job-of-a!")
    assert await probe.replies("gateway-2") == [("c", *first[1:])]
    assert (await probe.statistics())["execution_count"] == 1


async def crowded(probe, shared, count):
    """So many more wait for a shared reply, all of one gateway."""
    waiters, now_us = [f"waiter-{i}" for i in range(count)], int(time.time() * 1e6)
    for start in range(0, count, 1000):
        fields = [
            word
            for name in waiters[start : start + 1000]
            for word in (f"w:{name}", f"gateway-1 {now_us}")
        ]
        await probe.command("HSET", probe.keys.replies + shared.owner, *fields)
    return waiters


async def microseconds(probe, calls):
    """What all scripts took while the server ran *calls*."""
    await probe.command("CONFIG", "RESETSTAT")
    await calls
    told = (await probe.command("INFO", "commandstats")).decode()
    (line,) = (one for one in told.splitlines() if one.startswith("cmdstat_evalsha:"))
    return int(line.partition("usec=")[2].partition(",")[0])


FEW, MANY = 3_000, 24_000


async def test_a_crowd_that_waits_for_one_reply_costs_no_more_for_each_of_them(probe, sharers):
    each_us = {}
    for count in (1, FEW, MANY):
        shared = content(f"of {count}")
        await sharers.lead(shared, f"first-{count}")
        waiters = await crowded(probe, shared, count)
        lease = await probe.lease()
        if count == 1:
            # The server is given the script.
            await probe.settle(lease)
            continue
        each_us[count] = await microseconds(probe, probe.settle(lease)) / count
        told = (await probe.replies())[-1][0].split()
        assert set(waiters) <= set(told)

    assert each_us[MANY] < 4 * each_us[FEW]


async def test_who_leaves_a_crowd_does_not_count_it(probe, sharers):
    async def leave(shared, waiters):
        for waiter in waiters:
            await sharers.leave(shared, waiter)

    took_us = {}
    for count in (FEW, MANY):
        shared = content(f"of {count}")
        await sharers.lead(shared, f"first-{count}")
        waiters = await crowded(probe, shared, count)
        await leave(shared, waiters[:5])
        took_us[count] = await microseconds(probe, leave(shared, waiters[5:105]))

    assert took_us[MANY] < 4 * took_us[FEW]


@BOTH
async def test_who_comes_later_has_the_kept_reply(probe, sharers, shared):
    await sharers.lead(shared, "a")
    await probe.settle(await probe.lease())

    told = await sharers.join(shared, "late", "gateway-9")

    assert told == Reply("late", Code.OK, "", b"input of job-of-a!")
    assert await probe.waiting() == []


async def test_hits_and_misses_are_counted_over_all_gateways(probe, sharers):
    await sharers.lead(content(), "a")
    await sharers.join(content(), "b", "gateway-2")
    assert await sharers.counted() == {"cache_miss_count": 1}

    await probe.settle(await probe.lease())
    await sharers.join(content(), "c", spent=Spent(7, 11))

    assert await sharers.counted() == {"cache_miss_count": 1, "cache_hit_count": 2}
    counters = await probe.statistics()
    assert counters["success_count"] == 1
    assert counters["cache_hit_ns"] > 7
    assert counters["cache_miss_ns"] == 11


async def test_who_asks_again_before_the_reply_is_read_counts_once(probe, sharers):
    await sharers.lead(content(), "a")
    await sharers.join(content(), "b", "gateway-2")
    await probe.settle(await probe.lease())

    for waiter, gateway in (("a", "gateway-1"), ("b", "gateway-2")):
        assert (await sharers.join(content(), waiter, gateway, waits=True)).code is Code.OK

    assert await sharers.counted() == {"cache_miss_count": 1, "cache_hit_count": 1}


async def test_keys_count_as_no_cache(probe, sharers):
    await sharers.lead(key(), "a")
    await sharers.join(key(), "b")
    await probe.settle(await probe.lease())
    await sharers.join(key(), "c")

    assert await sharers.counted() == {}


async def test_another_content_or_generation_has_another_reply(probe, sharers):
    await sharers.lead(content(), "a")
    await probe.settle(await probe.lease())

    newer = content(ref=StageRef(FIRST.model, FIRST.version, 0, "newer"))

    assert isinstance(await sharers.join(newer, "b"), Lead)
    assert isinstance(await sharers.join(content("other"), "c"), Lead)


class TestKeys:
    @pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
    async def test_other_content_under_a_key_is_refused(self, probe, sharers, ended):
        await sharers.lead(key(), "a")
        if ended:
            await probe.settle(await probe.lease())

        assert isinstance(await sharers.join(key(digest="other"), "b"), KeyReused)
        assert await sharers.join(key("second", "other"), "c") == Lead("job-of-c")

    async def test_a_job_outlives_its_gateway(self, probe, sharers):
        await probe.command("ZADD", probe.keys.gateways, 1, "gateway-1")
        await sharers.lead(key(), "a")
        await probe.enqueue("plain")
        lease = await probe.lease(rows=1)

        await probe.reaped(lambda sums: sums.orphaned == 1)

        assert await probe.waiting() == []
        assert await probe.queue.renew(FIRST.model, [(lease.id, lease.token)], LONG_MS) == [1]
        await probe.settle(lease)
        assert (await sharers.join(key(), "again", "gateway-2")).body == b"input of job-of-a!"

    async def test_who_gives_up_leaves_the_job_alone(self, sharers):
        await sharers.lead(key(), "a")

        assert await sharers.leave(key(), "a") == b""
        assert await sharers.join(key(), "again") is None

    async def test_they_are_forgotten_after_their_life(self, probe, sharers):
        short = key(keep_ms=30)
        await sharers.lead(short, "a")
        await probe.settle(await probe.lease())

        await until(lambda: _leads(sharers, key(digest="other", keep_ms=30)))

    async def test_no_more_are_taken_than_fit(self, probe, sharers):
        small = {"most_bytes": 100}
        await sharers.lead(key("first", **small), "a")
        await probe.settle(await probe.lease())

        assert isinstance(await sharers.join(key("second", **small), "b"), OutOfMemory)
        assert (await sharers.join(key("first", **small), "c")).code is Code.OK

    async def test_room_comes_back_as_they_expire(self, probe, sharers):
        small = {"most_bytes": 100, "keep_ms": 30}
        await sharers.lead(key("first", **small), "a")
        await probe.settle(await probe.lease())

        await until(lambda: _leads(sharers, key("second", **small)))

        assert await sharers.kept("key") == ([], 0, 0)


async def _leads(sharers, shared):
    return isinstance(await sharers.join(shared, "x"), Lead)


class TestFailures:
    @BOTH
    async def test_what_the_content_causes_is_everybodys(self, probe, sharers, shared):
        await sharers.lead(shared, "a")
        await sharers.join(shared, "b")
        await probe.settle(await probe.lease(), code=Code.INVALID_ARGUMENT)

        ((ids, code, text, _),) = await probe.replies()

        assert sorted(ids.split()) == ["a", "b"]
        assert (code, text) == (Code.INVALID_ARGUMENT, "failed")

    async def test_a_cache_keeps_none(self, probe, sharers):
        await sharers.lead(content(), "a")
        await probe.settle(await probe.lease(), code=Code.INTERNAL)

        assert isinstance(await sharers.join(content(), "b"), Lead)
        assert "cache_hit_count" not in await sharers.counted()

    async def test_a_key_keeps_what_the_content_caused(self, probe, sharers):
        await sharers.lead(key(), "a")
        await probe.settle(await probe.lease(), code=Code.INTERNAL)

        assert await sharers.join(key(), "b") == Reply(
            "b", Code.INTERNAL, "failed", b"input of job-of-a!"
        )

    @BOTH
    @pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED])
    async def test_what_one_try_met_is_its_leaders_alone(self, probe, sharers, shared, code):
        await sharers.lead(shared, "a")
        await sharers.join(shared, "b")
        await sharers.join(shared, "c", "gateway-2")
        await probe.settle(await probe.lease(), code=code)

        replies = await probe.replies() + await probe.replies("gateway-2")

        assert {reply[0]: reply[1] for reply in replies} == {
            "a": code,
            "b": Code.ABORTED,
            "c": Code.ABORTED,
        }
        assert isinstance(await sharers.join(shared, "b"), Lead)
        assert await sharers.join(shared, "c", "gateway-2") is None

    @BOTH
    async def test_the_leaders_deadline_is_not_the_others(self, probe, sharers, shared):
        await sharers.lead(shared, "a", ttl_ms=1)
        await sharers.join(shared, "b")
        await probe.reaped(lambda sums: sums.expired == 1)

        assert {one[0]: one[1] for one in await probe.replies()} == {
            "a": Code.DEADLINE_EXCEEDED,
            "b": Code.ABORTED,
        }

    async def test_a_dead_letter_is_everybodys(self, probe, sharers):
        await sharers.lead(content(), "a")
        await sharers.join(content(), "b")
        for turn in range(2):
            await probe.claim(f"worker-{turn}")
            await probe.queue.release_leases_of(FIRST.model, f"worker-{turn}")

        ((ids, code, *_),) = await probe.replies()

        assert sorted(ids.split()) == ["a", "b"]
        assert code is Code.INTERNAL


class TestLeaders:
    @BOTH
    async def test_one_that_brings_no_job_is_followed_by_another(self, probe, sharers, shared):
        """The gateway died between its join and its enqueue."""
        led = await sharers.join(shared, "a")
        assert await sharers.join(shared, "b") is None

        async def b_leads():
            return await sharers.join(shared, "b") == led

        await until(b_leads)
        await sharers.enqueue(shared, led.job)
        await sharers.enqueue(shared, led.job)

        assert await probe.waiting() == [led.job]

    @BOTH
    async def test_one_that_is_refused_tells_another(self, probe, sharers, shared):
        await sharers.join(shared, "a")
        await sharers.join(shared, "b", "gateway-2")

        await sharers.leave(shared, "a")

        assert await probe.replies("gateway-2") == [("b", Code.ABORTED, "", b"")]
        assert isinstance(await sharers.join(shared, "b", "gateway-2"), Lead)

    async def test_one_that_gives_up_leaves_the_job_to_the_others(self, probe, sharers):
        await sharers.lead(content(), "a")
        await sharers.join(content(), "b")

        assert await sharers.leave(content(), "a") == b""

        await probe.settle(await probe.lease())
        assert [reply[0] for reply in await probe.replies()] == ["b"]

    async def test_the_last_that_gives_up_takes_the_job_along(self, sharers):
        led = await sharers.lead(content(), "a")
        await sharers.join(content(), "b")
        await sharers.leave(content(), "a")

        assert await sharers.leave(content(), "b") == led.encode()
        assert isinstance(await sharers.join(content(), "c"), Lead)

    async def test_a_job_that_nobody_wants_any_more_tells_nobody(self, probe, sharers):
        """It was computed after all, while others ask for the same anew."""
        await sharers.lead(content(), "a")
        lease = await probe.lease()
        await sharers.leave(content(), "a")
        second = await sharers.lead(content(), "b")

        await probe.settle(lease)

        assert await probe.replies() == []
        assert await probe.waiting() == [second]


@pytest.mark.parametrize("lost", ["lose_answers", "lose_requests"])
@pytest.mark.parametrize("who", ["leader", "follower", "leaving"])
async def test_a_lost_call_has_the_result_of_one_that_was_not_lost(store, lost, who):
    async with Proxy(store.socket) as proxy, Links(proxy.url, patience_s=20) as links:
        sharers = Sharers(Probe(links, await open_queue(links)))
        # The server knows both scripts: what is lost is no answer that it does not.
        await sharers.join(key(), "x")
        await sharers.leave(key(), "x")
        if who != "leader":
            await sharers.lead(content(), "a")
        setattr(proxy, lost, 1)
        if who == "leaving":
            left = await sharers.leave(content(), "a")
            # Lost after it was done, there is nobody left to leave: the job runs for nobody.
            assert left == (b"job-of-a" if lost == "lose_requests" else b"")
        else:
            told = await sharers.join(content(), "b")
            assert told == (Lead("job-of-b") if who == "leader" else None)
            assert (await sharers.counted()) == {"cache_miss_count": 1}
