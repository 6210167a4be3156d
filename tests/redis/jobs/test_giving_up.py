"""Jobs that are cancelled, given back, or tried again."""

import pytest
from support.probe import FIRST, LONG_MS, SECOND

from penstock.errors import Code
from penstock.scheduler.jobs.types import Held

FINE, CANCELLED, LOST = Held.FINE, Held.CANCELLED, Held.LOST


async def retried(probe, lease, delay_ms=0, most=3, why="the device is broken"):
    return await probe.queue.retry(
        FIRST.model, lease.token, [lease.id], delay_ms=delay_ms, most=most, why=why
    )


# cancel


async def test_a_waiting_job_is_gone_at_once_without_a_reply(probe):
    await probe.enqueue("a", "b")

    await probe.queue.cancel(FIRST.model, "a")

    assert await probe.waiting() == ["b"]
    assert await probe.record("a") == {}
    assert await probe.members(probe.keys.deadline) == ["b"]
    assert await probe.replies() == []
    assert await probe.ends() == {"cancelled": 1}


async def test_a_job_is_cancelled_in_whatever_stage_it_waits(probe):
    await probe.enqueue("a")
    await probe.advance(await probe.lease())

    await probe.queue.cancel(FIRST.model, "a")

    assert await probe.waiting(SECOND.queue) == []
    assert await probe.ends() == {"cancelled": 1}


async def test_a_leased_job_is_marked_and_stays_its_workers(probe):
    await probe.enqueue("a")
    lease = await probe.lease()

    await probe.queue.cancel(FIRST.model, "a")

    assert await probe.queue.state(FIRST.model, "a") == "leased"
    assert await probe.queue.renew(FIRST.model, [("a", lease.token)], LONG_MS) == [CANCELLED]
    assert await probe.ends() == {}


async def test_an_unknown_id_stays_unknown(probe):
    before = await probe.names()

    await probe.queue.cancel(FIRST.model, "a")
    after = await probe.names()
    accepted = await probe.enqueue("a")

    assert after == before
    assert accepted == [None]
    assert (await probe.lease()).id == "a"


async def test_cancelling_twice_counts_once(probe):
    await probe.enqueue("a")

    await probe.queue.cancel(FIRST.model, "a")
    await probe.queue.cancel(FIRST.model, "a")

    assert await probe.ends() == {"cancelled": 1}


async def test_a_cancelled_id_is_not_accepted_again(probe):
    await probe.enqueue("a")
    await probe.queue.cancel(FIRST.model, "a")

    assert await probe.enqueue("a") == ["cancelled"]


async def test_a_final_job_cannot_be_cancelled(probe):
    await probe.enqueue("a")
    await probe.settle(await probe.lease())

    await probe.queue.cancel(FIRST.model, "a")

    assert await probe.ends() == {"success_count": 1}


async def test_a_delayed_job_can_be_cancelled(probe):
    await probe.enqueue("a")
    await retried(probe, await probe.lease(), delay_ms=LONG_MS)

    await probe.queue.cancel(FIRST.model, "a")

    assert await probe.members(probe.keys.delay) == []
    assert await probe.record("a") == {}
    assert await probe.ends() == {"cancelled": 1}


# give back


async def test_an_unbegun_job_goes_back_as_if_it_had_not_been_claimed(probe):
    await probe.enqueue("a", "b")
    lease = await probe.lease(rows=1)

    answer = await probe.queue.give_back(FIRST.model, lease.token, [lease.id])
    second = await probe.lease("worker-2", rows=1)

    assert answer == [FINE]
    assert (second.id, second.attempts, second.alone) == (lease.id, 1, False)
    assert second.wait_us >= lease.wait_us
    assert await probe.settle(lease) == [LOST]


async def test_a_given_back_job_wakes_a_sleeping_worker(probe):
    await probe.enqueue("a")
    lease = await probe.lease()
    bell = probe.keys.bells + FIRST.queue
    await probe.command("DEL", bell)

    await probe.queue.give_back(FIRST.model, lease.token, ["a"])

    assert await probe.command("LLEN", bell) == 1


@pytest.mark.parametrize("delay_ms", [0, LONG_MS])
async def test_giving_back_again_is_fine_and_changes_nothing(probe, delay_ms):
    await probe.enqueue("a")
    lease = await probe.lease()
    first = await retried(probe, lease, delay_ms)
    before = await probe.record("a")

    again = await retried(probe, lease, delay_ms)

    assert (first, again) == ([FINE], [FINE])
    assert await probe.record("a") == before


async def test_only_the_tokens_owner_gives_back(probe):
    await probe.enqueue("a")
    old = await probe.lease("worker-1")
    await probe.queue.release_leases_of(FIRST.model, "worker-1")
    new = await probe.lease("worker-2")

    answers = [
        await probe.queue.give_back(FIRST.model, old.token, ["a"]),
        await retried(probe, old, most=1),
        await probe.queue.give_back(FIRST.model, old.token, ["unknown"]),
    ]

    assert answers == [[LOST]] * 3
    assert await probe.settle(new) == [FINE]


async def test_a_cancelled_job_that_is_given_back_is_final(probe):
    await probe.enqueue("a")
    lease = await probe.lease()
    await probe.queue.cancel(FIRST.model, "a")

    answers = [await probe.queue.give_back(FIRST.model, lease.token, ["a"]) for _ in range(2)]

    assert answers == [[CANCELLED]] * 2
    assert await probe.waiting() == []
    assert await probe.ends() == {"cancelled": 1}


# try again


async def test_a_job_is_tried_again_after_a_delay(probe):
    await probe.enqueue("a")
    lease = await probe.lease()

    answer = await retried(probe, lease, delay_ms=60)
    early = await probe.claim("worker-2")
    reaped = await probe.reaped(lambda reaped: reaped.retried)
    second = await probe.lease("worker-2")

    assert answer == [FINE]
    assert early.leases == []
    assert (reaped.retried, second.id, second.attempts) == (1, "a", 2)
    assert await probe.members(probe.keys.delay) == []


async def test_a_delay_takes_as_long_as_it_should(probe):
    await probe.enqueue("a")
    await retried(probe, await probe.lease(), delay_ms=LONG_MS)

    reaped = await probe.queue.reap(0)

    assert reaped.retried == 0
    assert await probe.members(probe.keys.delay) == ["a"]


async def test_the_last_attempt_fails_the_job_with_what_went_wrong(probe):
    await probe.enqueue("a")
    first = await retried(probe, await probe.lease(), most=2)
    lease = await probe.lease()
    last = [await retried(probe, lease, most=2) for _ in range(2)]

    assert (first, last) == ([FINE], [[CANCELLED]] * 2)
    assert await probe.replies() == [("a", Code.INTERNAL, "the device is broken", b"")]
    assert await probe.ends() == {"fail_count": 1}
    assert await probe.record("a") == {}


async def test_a_delayed_job_that_becomes_late_expires(probe):
    await probe.enqueue("a", ttl_ms=500)
    await retried(probe, await probe.lease(), delay_ms=LONG_MS)

    await probe.reaped(lambda reaped: reaped.expired)

    assert await probe.members(probe.keys.delay) == []
    assert [(id_, code) for id_, code, *_ in await probe.replies()] == [
        ("a", Code.DEADLINE_EXCEEDED)
    ]


async def test_each_job_is_given_back_on_its_own(probe):
    await probe.enqueue("a", "b", "c")
    claim = await probe.claim()
    token = claim.leases[0].token
    await probe.queue.cancel(FIRST.model, "b")

    answer = await probe.queue.give_back(FIRST.model, token, ["a", "b", "unknown", "c"])

    assert answer == [FINE, CANCELLED, LOST, FINE]
    assert await probe.waiting() == ["a", "c"]
    assert await probe.ends() == {"cancelled": 1}
