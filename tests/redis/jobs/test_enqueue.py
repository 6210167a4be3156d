"""Jobs on their way into the queue."""

import pytest
from support.probe import FIRST, LONG_MS, job

from penstock.errors import QueueFull
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.observe.loads import depths_of


async def test_a_job_is_accepted_once(probe):
    first = await probe.enqueue("a", payload=b"first")
    second = await probe.enqueue("a", payload=b"second")
    lease = await probe.lease()

    assert (first, second) == ([None], ["waiting"])
    assert lease.payload == b"first"
    assert (await probe.statistics())["accepted"] == 1


async def test_a_repeat_hears_how_far_the_job_is(probe):
    await probe.enqueue("a")
    lease = await probe.lease()
    leased = await probe.enqueue("a")
    await probe.settle(lease)
    ended = await probe.enqueue("a")

    assert (leased, ended) == (["leased"], ["succeeded"])
    assert await probe.waiting() == []


async def test_an_id_is_one_job_although_it_comes_twice_in_one_call(probe):
    assert await probe.enqueue("a", "a") == [None, "waiting"]
    assert await probe.waiting() == ["a"]


async def test_jobs_of_one_turn_are_answered_each_on_its_own(probe):
    await probe.enqueue("b")

    assert await probe.enqueue("a", "b", "c") == [None, "waiting", None]
    assert set(await probe.waiting()) == {"a", "b", "c"}


async def test_jobs_of_one_turn_need_one_call(probe):
    await probe.enqueue("first")
    await probe.command("CONFIG", "RESETSTAT")

    await probe.enqueue(*"abcdefgh")

    told = (await probe.command("INFO", "commandstats")).decode()
    assert "cmdstat_evalsha:calls=1," in told


async def test_priority_comes_before_the_deadline_and_the_deadline_before_the_turn(probe):
    await probe.enqueue("late", ttl_ms=90_000)
    await probe.enqueue("soon", ttl_ms=30_000)
    await probe.enqueue("unimportant", ttl_ms=10_000, priority=2)
    await probe.enqueue("important", ttl_ms=120_000, priority=0)
    await probe.enqueue("middle", ttl_ms=60_000)

    claim = await probe.claim()

    order = [lease.id for lease in claim.leases]
    assert order == ["important", "soon", "middle", "late", "unimportant"]


async def test_no_more_jobs_wait_than_the_limit_allows(probe):
    limits = QueueLimits(jobs=2)

    answers = await probe.offer(job("a"), job("b"), job("c"), limits=limits)
    await probe.lease(rows=1)
    later = await probe.offer(job("c"), job("d"), limits=limits)

    assert answers[:2] == [None, None]
    assert [type(answer) for answer in answers[2:]] == [QueueFull]
    assert later[0] is None
    assert isinstance(later[1], QueueFull)
    assert (await probe.statistics())["accepted"] == 3


async def test_a_full_queue_still_knows_its_jobs(probe):
    limits = QueueLimits(jobs=1, payload_bytes=10)
    await probe.offer(job("a", payload=b"x" * 10), limits=limits)

    assert await probe.offer(job("a", payload=b"x" * 10), limits=limits) == ["waiting"]


async def test_bytes_count_until_the_job_has_ended(probe):
    limits = QueueLimits(payload_bytes=100)

    async def offered(id_, size):
        (answer,) = await probe.offer(job(id_, payload=b"x" * size), limits=limits)
        return answer

    assert await offered("a", 60) is None
    assert isinstance(await offered("b", 41), QueueFull)
    assert await offered("c", 40) is None
    # Jobs in work still need their memory.
    claim = await probe.claim()
    assert isinstance(await offered("d", 1), QueueFull)
    await probe.settle(*claim.leases)
    assert await offered("d", 100) is None


async def test_what_was_refused_leaves_nothing(probe):
    before = await probe.names()

    (answer,) = await probe.offer(job("a", payload=b"xx"), limits=QueueLimits(payload_bytes=1))

    assert isinstance(answer, QueueFull)
    assert await probe.names() == before


async def test_versions_have_limits_of_their_own(probe):
    limits = QueueLimits(jobs=1, payload_bytes=10)
    other = StageRef(FIRST.model, 2, 0)

    answers = await probe.offer(
        job("a", payload=b"x" * 10), job("b", payload=b"x" * 10, ref=other), limits=limits
    )

    assert answers == [None, None]


async def test_depths_tell_how_much_waits_and_how_long_the_oldest_has(probe):
    empty = StageRef("letters", 1, 0)
    await probe.enqueue("a", "b")
    await probe.command("HINCRBY", probe.keys.jobs + "a", "queued_us", -7_000_000)

    depths = await depths_of(probe.queue, [FIRST, empty])

    assert depths[FIRST].waiting == 2
    assert 7000 <= depths[FIRST].oldest_ms < 7000 + LONG_MS
    assert (depths[empty].waiting, depths[empty].oldest_ms) == (0, 0)


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_payloads_arrive_byte_for_byte(probe, size):
    payload = bytes(reversed(range(256))) * (size // 256) + b"\r\n\x00"[: size % 256]
    await probe.enqueue("a", payload=payload)

    lease = await probe.lease()

    assert lease.payload == payload
