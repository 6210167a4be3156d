"""Large payloads lie beside their jobs, and share their fate."""

import pytest
from support.probe import FIRST, NO_TIME, SECOND, job

from penstock.errors import QueueFull
from penstock.scheduler import scripts
from penstock.scheduler.beside import LARGE_BYTES
from penstock.scheduler.jobs import Held, QueueLimits

LARGE = bytes(range(256)) * (LARGE_BYTES // 256)
OTHER = LARGE[::-1]


async def beside(probe):
    """The keys of payloads that lie beside jobs."""
    return await probe.names(probe.keys.jobs + "*:payload*")


async def test_a_large_payload_arrives_and_goes_with_its_job(probe):
    await probe.enqueue("a", payload=LARGE)
    assert await probe.ttl_ms(probe.keys.jobs + "a:payload") > 0

    lease = await probe.lease()
    await probe.settle(lease)

    assert lease.payload == LARGE
    assert await beside(probe) == set()


@pytest.mark.parametrize(("before", "after"), [(LARGE, OTHER), (LARGE, b"small"), (b"x", LARGE)])
async def test_the_next_stage_gets_the_payload_that_was_advanced(probe, before, after):
    await probe.enqueue("a", payload=before)
    first = await probe.lease()

    for _ in range(2):
        held = await probe.queue.advance(first.token, SECOND, NO_TIME, [("a", after)])
        assert held == [Held.FINE]

    second = await probe.lease(ref=SECOND)
    assert second.payload == after
    assert len(await beside(probe)) == (len(after) >= LARGE_BYTES)
    await probe.settle(second, ref=SECOND)
    assert await beside(probe) == set()


async def test_an_owner_that_lost_the_job_changes_nothing(probe):
    await probe.enqueue("a", payload=LARGE)
    old = await probe.lease("worker-1", lease_ms=1)
    await probe.reaped(lambda reaped: reaped.requeued)

    held = await probe.queue.advance(old.token, SECOND, NO_TIME, [("a", OTHER)])

    assert held == [Held.LOST]
    assert (await probe.lease("worker-2")).payload == LARGE
    assert len(await beside(probe)) == 1


async def test_a_refused_job_leaves_no_payload(probe):
    limits = QueueLimits(payload_bytes=len(LARGE))

    answers = await probe.offer(job("a", payload=LARGE), job("b", payload=LARGE), limits=limits)

    assert answers[0] is None
    assert isinstance(answers[1], QueueFull)
    assert len(await beside(probe)) == 1


@pytest.mark.parametrize("way", ["cancel", "expire"])
async def test_a_job_that_is_not_run_leaves_no_payload(probe, way):
    await probe.enqueue("a", payload=LARGE, ttl_ms=1 if way == "expire" else 60_000)
    if way == "cancel":
        await probe.queue.cancel(FIRST.model, "a")
    else:
        await probe.reaped(lambda reaped: reaped.expired)

    assert await beside(probe) == set()


async def test_a_payload_that_found_no_memory_refuses_its_job(probe):
    keys = probe.keys
    names = (keys.ready, keys.deadline, keys.bells, keys.volume, keys.stats, keys.jobs)
    names = (*names, keys.ended, keys.stats)
    words = ("gateway-1", FIRST.queue, 0, 0, 0, 0, "", "a", 0, 1, 60_000, 0, b"", len(LARGE))

    # As `enqueue` calls it, after a server that was full has refused the payload.
    answer = await probe.links.to(keys.tag).call(scripts.load("enqueue"), names, words)

    assert answer == [-2]
    assert await probe.record("a") == {}


async def test_a_lost_payload_is_told_to_the_worker(probe):
    await probe.enqueue("a", payload=LARGE)
    await probe.command("DEL", probe.keys.jobs + "a:payload")

    assert (await probe.lease()).payload is None
