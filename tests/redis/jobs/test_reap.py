"""What time overtakes: leases, deadlines, delays and gateways that are over."""

import asyncio

import pytest
from support.probe import FIRST, LONG_MS
from support.waiting import until

from penstock.errors import Code
from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.types import Held, Reaped
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.roles.reaper import Reaper

NOTHING = Reaped(0, 0, 0, 0, 0)


async def fields(probe, stream):
    """The entries of a stream, as dictionaries."""
    entries = await probe.command("XRANGE", stream, "-", "+")
    return [
        {name.decode(): value.decode() for name, value in zip(e[::2], e[1::2], strict=True)}
        for _, e in entries
    ]


async def crash_alone(probe, worker="worker-1"):
    lease = await probe.lease(worker)
    await probe.queue.release_leases_of(FIRST.model, worker)
    return lease


# leases


async def test_a_job_whose_lease_is_over_goes_back_to_run_alone(probe):
    await probe.enqueue("a", "b")
    await probe.claim("worker-1", lease_ms=20)

    reaped = await probe.reaped(lambda reaped: reaped.requeued == 2)
    claims = [await probe.claim(f"worker-{i}") for i in (2, 3)]

    assert reaped == Reaped(requeued=2, dead=0, expired=0, retried=0, orphaned=0)
    leases = [[(lease.id, lease.alone) for lease in claim.leases] for claim in claims]
    assert leases == [[("a", True)], [("b", True)]]
    assert (await probe.statistics())["requeued"] == 2


async def test_a_lease_that_is_renewed_is_left_alone(probe):
    await probe.enqueue("a")
    lease = await probe.lease(lease_ms=20)
    await probe.queue.renew(FIRST.model, [("a", lease.token)], LONG_MS)
    ends_ms = float(await probe.command("ZSCORE", probe.keys.lease, "a"))

    assert await probe.queue.reap(0) == NOTHING
    assert ends_ms > 0
    assert await probe.settle(lease) == [Held.FINE]


async def test_a_job_that_crashes_in_a_batch_and_then_succeeds_was_not_to_blame(probe):
    await probe.enqueue("good", "bad")
    await probe.claim("worker-1")
    await probe.queue.release_leases_of(FIRST.model, "worker-1")
    for _ in range(2):
        lease = await probe.lease("worker-2", rows=1)
        if lease.id == "good":
            await probe.settle(lease)
        else:
            await probe.queue.release_leases_of(FIRST.model, "worker-2")

    assert [(id_, code) for id_, code, *_ in await probe.replies()] == [
        ("bad", Code.INTERNAL),
        ("good", Code.OK),
    ]
    assert await probe.ends() == {"success_count": 1, "dead": 1}


async def test_two_crashes_the_last_one_alone_set_a_job_aside(probe):
    await probe.enqueue("a")
    await crash_alone(probe)
    lease = await probe.lease("worker-2")
    reaped = await probe.queue.release_leases_of(FIRST.model, "worker-2")

    assert (reaped.requeued, reaped.dead) == (0, 1)
    ((id_, code, message, _),) = await probe.replies()
    assert (id_, code) == ("a", Code.INTERNAL)
    assert "ended its worker 2 times" in message
    (letter,) = await fields(probe, probe.keys.dead)
    assert letter.pop("accepted_us")
    assert letter == {
        "id": "a",
        "queue": FIRST.queue,
        "worker": lease.token,
        "crashes": "2",
        "rows": "1",
    }
    assert await probe.record("a") == {}
    assert await probe.ends() == {"dead": 1}


async def test_a_new_stage_does_not_hold_an_old_crash_against_a_job(probe):
    await probe.enqueue("a")
    await crash_alone(probe)
    await probe.advance(await probe.lease("worker-2"), to=FIRST)

    lease = await crash_alone(probe, "worker-3")

    assert not lease.alone
    assert (await probe.lease("worker-4")).alone
    assert await probe.ends() == {}


async def test_only_the_dead_workers_leases_end(probe):
    await probe.enqueue("a", "b", "c")
    kept = [await probe.lease(worker, rows=1) for worker in ("worker-1", "worker-11")]
    await probe.lease("worker-2", rows=1)

    reaped = await probe.queue.release_leases_of(FIRST.model, "worker-2")
    again = await probe.queue.release_leases_of(FIRST.model, "worker-2")

    assert (reaped.requeued, again.requeued) == (1, 0)
    assert await probe.waiting() == ["c"]
    assert await probe.queue.release_leases_of(FIRST.model, "worker-1") == Reaped(1, 0, 0, 0, 0)
    assert await probe.settle(kept[1]) == [Held.FINE]


async def test_a_cancelled_job_is_not_tried_again_after_a_crash(probe):
    await probe.enqueue("a")
    await probe.lease("worker-1")
    await probe.queue.cancel(FIRST.model, "a")
    await probe.queue.release_leases_of(FIRST.model, "worker-1")

    assert await probe.waiting() == []
    assert await probe.ends() == {"cancelled": 1}
    assert await probe.replies() == []


async def test_events_tell_what_was_put_right(probe):
    await probe.enqueue("a")
    await crash_alone(probe)

    (event,) = await fields(probe, probe.keys.events)

    assert (event["kind"], event["requeued"], event["worker"]) == ("reap", "1", "worker-1.")


# deadlines


@pytest.mark.parametrize("state", ["waiting", "leased"])
async def test_a_late_job_ends_with_a_reply_wherever_it_is(probe, state):
    await probe.enqueue("a", ttl_ms=500)
    lease = await probe.lease() if state == "leased" else None

    reaped = await probe.reaped(lambda reaped: reaped.expired)

    assert reaped.expired == 1
    assert await probe.replies() == [("a", Code.DEADLINE_EXCEEDED, "the deadline passed", b"")]
    assert await probe.waiting() == await probe.members(probe.keys.lease) == []
    assert await probe.ends() == {"expired": 1}
    if lease is not None:
        assert await probe.settle(lease) == [Held.LOST]


async def test_a_job_that_waits_longer_than_its_queue_allows_ends_as_triton_ends_it(probe):
    await probe.enqueue("a", begin_within_ms=20)

    await probe.reaped(lambda reaped: reaped.expired)

    ((_, code, message, _),) = await probe.replies()
    assert (code, message) == (Code.UNAVAILABLE, "Request timeout expired")


async def test_one_call_does_a_bounded_amount_of_work(probe):
    await probe.enqueue(*(f"job-{i}" for i in range(25)), ttl_ms=1)
    await until(lambda: _all_late(probe))

    found = [(await probe.queue.reap(0, most=10)).expired for _ in range(4)]

    assert found == [10, 10, 5, 0]


# gateways


async def attached(probe, gateway="gateway-1"):
    reader = ReplyReader(probe.links, 1, gateway, print)
    await reader.heartbeat()
    return reader


async def test_a_gateway_that_has_left_takes_its_jobs_and_its_stream_along(probe):
    reader = await attached(probe)
    await attached(probe, "gateway-2")
    await probe.enqueue("answered")
    await probe.settle(await probe.lease())
    await probe.enqueue("leased")
    lease = await probe.lease()
    await probe.enqueue("waiting")
    await probe.enqueue("delayed")
    delayed = (await probe.claim("worker-2", rows=2)).leases
    await probe.queue.give_back(FIRST.model, delayed[0].token, ["waiting"])
    await probe.queue.retry(
        FIRST.model, delayed[0].token, ["delayed"], delay_ms=LONG_MS, most=3, why=""
    )
    await probe.enqueue("other", gateway="gateway-2")

    await reader.heartbeat(leave=True)
    reaped = await probe.queue.reap(0)

    assert reaped.orphaned == 3
    assert probe.keys.replies + "gateway-1" not in await probe.names()
    assert await probe.members(probe.keys.gateways) == ["gateway-2"]
    assert await probe.waiting() == ["other"]
    assert await probe.members(probe.keys.delay) == []
    assert await probe.settle(lease) == [Held.CANCELLED]
    assert await probe.ends() == {"success_count": 1, "cancelled": 3}


async def test_a_silent_gateway_is_gone(probe):
    await attached(probe)
    await probe.enqueue("a")

    assert await probe.queue.reap(0) == NOTHING
    reaped = await probe.reaped(lambda reaped: reaped.orphaned, gateway_ms=20)
    assert reaped.orphaned == 1
    assert await probe.waiting() == []


async def test_a_silent_gateway_without_jobs_is_forgotten(probe):
    await attached(probe)

    async def is_forgotten():
        await probe.queue.reap(0, gateway_ms=20)
        return await probe.members(probe.keys.gateways) == []

    await until(is_forgotten)


async def test_a_gateway_that_speaks_again_in_time_keeps_its_jobs(probe):
    reader = await attached(probe)
    await probe.enqueue("a")
    await reader.heartbeat(leave=True)
    await reader.heartbeat()

    assert await probe.queue.reap(0) == NOTHING
    assert await probe.waiting() == ["a"]


# the reaper


async def test_the_reaper_does_all_of_it_by_itself_and_outlives_an_outage(store, own_probe):
    probe = own_probe
    task = asyncio.create_task(Reaper(probe.queue, interval_s=0.01).run())
    await probe.enqueue("late", ttl_ms=1)
    await until(lambda: _ended(probe, {"expired": 1}))

    store.kill()
    store.start()
    await probe.enqueue("later", ttl_ms=1)

    await until(lambda: _ended(probe, {"expired": 2}))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_reaper_clears_a_crowd_in_one_go(probe):
    await probe.enqueue(*(f"job-{i}" for i in range(250)), ttl_ms=1)
    await until(lambda: _all_late(probe))
    # One interval: it goes on while it finds as much as one call may do.
    task = asyncio.create_task(Reaper(probe.queue, interval_s=600).run())

    await until(lambda: _ended(probe, {"expired": 250}))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _ended(probe, how):
    return await probe.ends() == how


async def _all_late(probe):
    seconds, microseconds = await probe.command("TIME")
    (_, last_ms) = await probe.command("ZRANGE", probe.keys.deadline, -1, -1, "WITHSCORES")
    return int(seconds) * 1000 + int(microseconds) // 1000 > float(last_ms)


async def test_bytes_of_jobs_that_vanished_are_forgotten_once_no_job_lives(probe):
    """Else a queue would be full for ever after some days on which nobody reaped."""
    limits = QueueLimits(payload_bytes=1000)
    await probe.enqueue("vanishes", "lives", limits=limits, payload=b"x" * 400)
    await probe.command("UNLINK", probe.keys.jobs + "vanishes")
    await probe.command("ZREM", probe.keys.deadline, "vanishes")
    await probe.queue.reap(0)
    counted = await probe.command("HVALS", probe.keys.live_bytes)
    await probe.queue.cancel(FIRST.model, "lives")

    await probe.queue.reap(0)
    (accepted,) = await probe.enqueue("next", limits=limits, payload=b"x" * 900)

    assert counted == [b"800"]
    assert accepted is None
