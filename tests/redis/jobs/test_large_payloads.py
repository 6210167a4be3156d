"""Large payloads lie beside their jobs, and share their fate."""

import pytest
from support.probe import FIRST, NO_TIME, SECOND, UNLIMITED, job

from penstock.errors import QueueFull
from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.dead_letters import Letters
from penstock.scheduler.jobs.payloads import LARGE_BYTES
from penstock.scheduler.jobs.types import Held, Missing
from penstock.scheduler.store import scripts
from penstock.transport.arena import Arena, is_handle
from penstock.workers.run.decoding import Decoder, PayloadOutOfReach

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
    line = ("gateway-1", FIRST.queue, 0, 0, 0, 0, "", "", "", "", "", "", "")
    words = (*line, "a", 0, 1, 60_000, 0, b"", len(LARGE))

    # As `enqueue` calls it, after a server that was full has refused the payload.
    answer = await probe.links.to(keys.tag).call(scripts.load("enqueue"), keys.prefix, words)

    assert answer == [-2]
    assert await probe.record("a") == {}


async def test_a_lost_payload_is_told_to_the_worker(probe):
    await probe.enqueue("a", payload=LARGE)
    await probe.command("DEL", probe.keys.jobs + "a:payload")

    assert (await probe.lease()).payload is Missing.LOST


# in their gateway's memory


@pytest.fixture
def arena():
    arena = Arena(1 << 20)
    yield arena
    arena.close()


def lent_job(id_, arena, payload=LARGE, **changes):
    loan = arena.lend(payload)
    return job(id_, payload=loan.handle, lent_bytes=len(payload), **changes), loan


async def test_what_is_lent_arrives_and_never_was_in_the_store(probe, arena):
    lent, _ = lent_job("a", arena)
    await probe.offer(lent, limits=UNLIMITED)
    assert await beside(probe) == set()
    record = await probe.record("a")

    lease = await probe.lease()
    await probe.settle(lease)

    assert is_handle(record["payload"].encode())
    assert lease.payload == LARGE


async def test_what_is_lent_counts_with_its_own_size(probe, arena):
    limits = QueueLimits(payload_bytes=len(LARGE) + len(LARGE) // 2)
    first, _ = lent_job("a", arena)
    second, _ = lent_job("b", arena)

    answers = await probe.offer(first, second, limits=limits)

    assert answers[0] is None
    assert isinstance(answers[1], QueueFull)
    await probe.settle(await probe.lease())
    assert await probe.offer(second, limits=limits) == [None]


async def test_a_repeated_claim_reads_what_is_lent_again(probe, arena):
    lent, _ = lent_job("a", arena)
    await probe.offer(lent, limits=UNLIMITED)

    claims = [await probe.claim(nonce="same") for _ in range(2)]

    assert [[one.payload for one in claim.leases] for claim in claims] == [[LARGE], [LARGE]]


async def test_what_was_taken_back_is_out_of_reach(probe, arena):
    lent, loan = lent_job("a", arena)
    await probe.offer(lent, limits=UNLIMITED)
    arena.take_back(loan)
    arena.lend(OTHER)

    lease = await probe.lease()

    assert lease.payload is Missing.OUT_OF_REACH
    with pytest.raises(PayloadOutOfReach):
        Decoder(("image",), batched=True).decode(lease, now_s=0.0)


async def test_a_letter_holds_what_was_lent(probe, arena):
    lent, loan = lent_job("bad", arena)
    await probe.offer(lent, limits=UNLIMITED)
    letters = Letters(probe.links, probe.queue.partitions)

    for worker in ("first", "second"):
        lease = await probe.lease(worker)
        assert lease.payload == LARGE
        await probe.queue.release_leases_of(FIRST.model, worker)
    arena.take_back(loan)

    (letter,) = await letters.listed()
    assert letter.payload_bytes == len(LARGE)
    assert await letters.payload(letter) == LARGE
    assert await beside(probe) == set()


async def test_the_next_stage_gets_what_the_first_made_of_what_was_lent(probe, arena):
    lent, _ = lent_job("a", arena)
    await probe.offer(lent, limits=UNLIMITED)
    first = await probe.lease()

    await probe.queue.advance(first.token, SECOND, NO_TIME, [("a", OTHER)])

    assert (await probe.lease(ref=SECOND)).payload == OTHER
