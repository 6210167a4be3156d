"""What an outage of the store is not held against: leases, gateways, sequences, crowds of jobs."""

import asyncio
import os
import signal

import pytest
from support.probe import FIRST, LONG_MS, UNLIMITED, job
from support.waiting import until

from penstock.errors import Code
from penstock.models.sequencing import SequenceTerms
from penstock.scheduler.jobs.types import Held, Outcome, Reaped, Timing, Turn
from penstock.scheduler.replies.reader import ReplyReader

NOTHING = Reaped(0, 0, 0, 0, 0)
LONG_OUTAGE_MS = 12_000
SHORT_OUTAGE_MS = 1_000
LEASE_MS = 5_000


async def away(probe, for_ms):
    """The store was stopped for so long after somebody had reaped: its clock went on alone."""
    await probe.queue.reap(0)
    await pass_by(probe, for_ms)


async def pass_by(probe, for_ms):
    """All that anybody wrote down is so much older."""
    keys = probe.keys
    for key in (keys.lease, keys.gateways, keys.idle):
        for member in await probe.members(key):
            await probe.command("ZINCRBY", key, -for_ms, member)
    if await probe.command("HEXISTS", keys.grace, "reaped"):
        await probe.command("HINCRBY", keys.grace, "reaped", -for_ms)
        await probe.command("HINCRBY", keys.grace, "until", -for_ms)


async def attached(probe, gateway="gateway-1"):
    reader = ReplyReader(probe.links, 1, gateway, print)
    await reader.heartbeat()
    return reader


# leases


@pytest.mark.parametrize("outages", [1, 2])
async def test_an_outage_is_no_crash_of_whoever_works_on(probe, outages):
    await probe.enqueue("a")
    lease = await probe.lease(lease_ms=LEASE_MS)
    for _ in range(outages):
        await away(probe, LONG_OUTAGE_MS)

        assert await probe.queue.reap(0) == NOTHING
        renewed = await probe.queue.renew(FIRST.model, [(lease.id, lease.token)], LEASE_MS)
        assert renewed == [Held.FINE]

    assert await probe.queue.reap(0) == NOTHING
    assert await probe.settle(lease) == [Held.FINE]
    assert await probe.ends() == {"success_count": 1}
    assert "crashes" not in await probe.statistics()


async def test_what_was_computed_during_an_outage_counts(probe):
    await probe.enqueue("a")
    lease = await probe.lease(lease_ms=LEASE_MS)
    await away(probe, LONG_OUTAGE_MS)
    await probe.queue.reap(0)

    assert await probe.settle(lease) == [Held.FINE]


async def test_who_is_not_heard_of_after_an_outage_has_crashed(probe):
    await probe.enqueue("a")
    await probe.lease(lease_ms=100)
    await away(probe, SHORT_OUTAGE_MS)
    at_once = await probe.queue.reap(0)

    reaped = await probe.reaped(lambda reaped: reaped.requeued)

    assert (at_once, reaped.requeued) == (NOTHING, 1)
    assert (await probe.lease("worker-2")).alone


async def test_who_is_known_to_have_died_has_no_grace(probe):
    await probe.enqueue("a")
    await probe.lease()
    await away(probe, LONG_OUTAGE_MS)

    assert (await probe.queue.release_leases_of(FIRST.model, "worker-1")).requeued == 1


async def test_deadlines_go_on_during_an_outage(probe):
    await away(probe, LONG_OUTAGE_MS)
    await probe.enqueue("a", ttl_ms=1)

    assert (await probe.reaped(lambda reaped: reaped.expired)).expired == 1


async def test_reapers_that_are_always_slow_reap_all_the_same(probe):
    """Each of their calls seems to follow an outage."""
    await probe.enqueue("a")
    await probe.lease(lease_ms=LEASE_MS)
    requeued = (await probe.queue.reap(0)).requeued
    for _ in range(100):
        await pass_by(probe, SHORT_OUTAGE_MS)
        requeued += (await probe.queue.reap(0)).requeued

    assert requeued == 1


async def test_a_clock_that_was_set_back_makes_no_grace_without_end(probe):
    """Another server has taken over, and its clock is behind."""
    await probe.queue.reap(0)
    await probe.command("HINCRBY", probe.keys.grace, "reaped", 3_600_000)
    await probe.command("HINCRBY", probe.keys.grace, "until", 7_200_000)
    seconds, _ = await probe.command("TIME")
    await probe.queue.reap(0)

    until_ms = int(await probe.command("HGET", probe.keys.grace, "until"))
    assert until_ms - int(seconds) * 1000 < 7_000


async def test_an_outage_is_told(probe):
    await away(probe, LONG_OUTAGE_MS)
    await probe.queue.reap(0)

    ((_, fields),) = await probe.command("XRANGE", probe.keys.events, "-", "+")
    assert fields[:3] == [b"kind", b"grace", b"silent_ms"]
    assert int(fields[3]) >= LONG_OUTAGE_MS


# gateways and sequences


async def test_an_outage_leaves_the_jobs_of_gateways_that_live(probe):
    reader = await attached(probe)
    await probe.enqueue("waiting", "leased")
    await probe.claim(rows=1)
    await away(probe, LONG_OUTAGE_MS)

    assert await probe.queue.reap(0) == NOTHING
    await reader.heartbeat()
    await pass_by(probe, 6_000)
    assert await probe.queue.reap(0) == NOTHING
    assert len(await probe.waiting()) == 1
    assert await probe.members(probe.keys.gateways) == ["gateway-1"]


async def test_a_gateway_that_died_during_an_outage_is_gone(probe):
    await attached(probe)
    await probe.enqueue("a")
    await away(probe, SHORT_OUTAGE_MS)
    at_once = await probe.queue.reap(0, gateway_ms=20)

    reaped = await probe.reaped(lambda reaped: reaped.orphaned, gateway_ms=20)

    assert (at_once, reaped.orphaned) == (NOTHING, 1)


async def test_a_gateway_that_has_left_has_no_grace(probe):
    reader = await attached(probe)
    await probe.enqueue("a")
    await away(probe, LONG_OUTAGE_MS)
    await reader.heartbeat(leave=True)

    assert (await probe.queue.reap(0)).orphaned == 1
    assert await probe.members(probe.keys.gateways) == []


@pytest.mark.parametrize("reaped", [False, True])
async def test_an_idle_sequence_outlives_an_outage(probe, reaped):
    """Its client could not go on with it."""
    terms = SequenceTerms(slots=1, idle_ms=1_000, initial=b"")
    first = Turn("i1", starts=True, ends=False, terms=terms)
    await probe.queue.enqueue(job("first", turn=first), UNLIMITED)
    lease = await probe.lease()
    outcome = Outcome(lease.id, Code.OK, "", b"", state=b"")
    await probe.queue.settle(lease.token, FIRST, 1, Timing(), [outcome])
    await away(probe, LONG_OUTAGE_MS)
    if reaped:
        await probe.queue.reap(0)

    following = Turn("i1", starts=False, ends=True, terms=terms)
    assert await probe.queue.enqueue(job("second", turn=following), UNLIMITED) is None


# crowds


async def enqueued(probe, count, gateway, **changes):
    jobs = [job(f"{gateway}-{i}", gateway=gateway, **changes) for i in range(count)]
    await asyncio.gather(*(probe.queue.enqueue(one, UNLIMITED) for one in jobs))


async def test_all_jobs_of_a_dead_gateway_are_dropped_however_many_come_before_them(probe):
    reader = await attached(probe, "dead")
    await attached(probe, "alive")
    await enqueued(probe, 4500, "alive")
    await enqueued(probe, 500, "dead", ttl_ms=2 * LONG_MS)
    await reader.heartbeat(leave=True)

    steps = [(await probe.queue.reap(0)).orphaned for _ in range(4)]

    assert sum(steps) == 500
    assert len(await probe.waiting()) == 4500
    assert await probe.members(probe.keys.gateways) == ["alive"]


async def test_a_gateway_that_is_heard_of_between_two_steps_keeps_the_rest(probe):
    reader = await attached(probe, "returning")
    await enqueued(probe, 5000, "returning")
    await reader.heartbeat(leave=True)
    await probe.queue.reap(0)
    left = len(await probe.waiting())
    await reader.heartbeat()

    assert await probe.queue.reap(0) == NOTHING
    assert 0 < len(await probe.waiting()) == left
    assert not await probe.command("HEXISTS", probe.keys.grace, "orphans_of")


async def test_a_dead_workers_job_is_found_behind_a_crowd_of_leases(probe):
    await probe.enqueue(*(f"job-{i}" for i in range(2000)))
    for _ in range(8):
        await probe.claim("worker-1", rows=250)
    await probe.enqueue(*(f"last-{i}" for i in range(100)))
    await probe.claim("worker-2", rows=100, lease_ms=2 * LONG_MS)

    assert (await probe.queue.release_leases_of(FIRST.model, "worker-2")).requeued == 100


# a store that is really stopped


async def test_a_store_that_was_stopped_and_goes_on_drops_nothing(store, own_probe):
    """Whatever was said while it slept arrives with its first breath, reapers' calls as well."""
    probe = own_probe
    await attached(probe)
    await probe.enqueue("a")
    lease = await probe.lease(lease_ms=300)
    reaping = asyncio.create_task(_reaping(probe))
    await until(lambda: probe.command("EXISTS", probe.keys.grace))
    os.kill(store.process.pid, signal.SIGSTOP)
    await asyncio.sleep(1.5)
    os.kill(store.process.pid, signal.SIGCONT)

    renewed = await probe.queue.renew(FIRST.model, [(lease.id, lease.token)], LONG_MS)

    assert renewed == [Held.FINE]
    assert await probe.settle(lease) == [Held.FINE]
    reaping.cancel()
    await asyncio.gather(reaping, return_exceptions=True)


async def _reaping(probe):
    while True:
        await probe.queue.reap(0)
        await asyncio.sleep(0.05)
