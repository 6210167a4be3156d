"""Jobs on their way to a worker."""

import asyncio
import time

import pytest
from support.probe import FIRST, LONG_MS
from support.waiting import until

from penstock.errors import Code
from penstock.scheduler.jobs.types import ClaimTerms

TERMS = ClaimTerms(rows=8, lease_ms=LONG_MS)


def ids(claim):
    return [lease.id for lease in claim.leases]


async def test_a_lease_says_what_the_worker_needs_to_know(probe):
    await probe.enqueue("a", rows=3, ttl_ms=60_000, gateway="gateway-7", payload=b"input")

    lease = await probe.lease("worker-1", nonce="5")

    assert (lease.id, lease.token, lease.gateway) == ("a", "worker-1.5", "gateway-7")
    assert (lease.rows, lease.attempts, lease.alone, lease.payload) == (3, 1, False, b"input")
    assert 50_000 < lease.remaining_ms <= 60_000
    assert 0 <= lease.wait_us < 10_000_000


async def test_a_claimed_job_is_nobody_elses(probe):
    await probe.enqueue("a", "b")
    await probe.claim("worker-1")

    other = await probe.claim("worker-2")

    assert (ids(other), other.wait_us, other.does_not_fit) == ([], None, False)


async def test_the_same_nonce_gives_the_same_jobs(probe):
    await probe.enqueue("a", "b", "c")
    first = await probe.claim(nonce="1", rows=2)
    await probe.enqueue("d")

    again = await probe.claim(nonce="1", rows=2)
    fresh = await probe.claim(nonce="2")

    assert ids(again) == ids(first) == ["a", "b"]
    assert [lease.token for lease in again.leases] == [lease.token for lease in first.leases]
    assert {lease.attempts for lease in again.leases} == {1}
    assert set(ids(fresh)) == {"c", "d"}


async def test_the_same_nonce_gives_only_what_is_still_leased(probe):
    await probe.enqueue("a", "b")
    claim = await probe.claim(nonce="1")
    await probe.settle(claim.leases[0])

    again = await probe.claim(nonce="1")

    assert ids(again) == ids(claim)[1:]


async def test_no_more_rows_are_given_than_were_asked_for(probe):
    for place, rows in enumerate([3, 2, 4, 1]):
        await probe.enqueue(f"job-{place}", rows=rows, ttl_ms=LONG_MS + 1000 * place)

    first = await probe.claim(rows=6)
    second = await probe.claim(rows=6)

    # In order: what is too large for the rest is not overtaken.
    assert ids(first) == ["job-0", "job-1"]
    assert ids(second) == ["job-2", "job-3"]


async def test_a_job_larger_than_any_batch_is_given_to_a_worker_with_nothing_else(probe):
    await probe.enqueue("large", rows=100)

    busy = await probe.claim(rows=8, idle=False)
    idle = await probe.claim(rows=8, idle=True)

    assert (ids(busy), busy.does_not_fit) == ([], True)
    assert ids(idle) == ["large"]


async def test_what_is_late_is_ended_with_a_reply_instead_of_begun(probe):
    await probe.enqueue("late", ttl_ms=1)
    await probe.enqueue("fine")

    async def late():
        return (await probe.record("late"))["deadline"]

    deadline_ms = int(await late())
    await until(lambda: time.time() * 1000 > deadline_ms + 2)
    claim = await probe.claim()

    assert ids(claim) == ["fine"]
    ((id_, code, message, _),) = await probe.replies()
    assert (id_, code) == ("late", Code.DEADLINE_EXCEEDED)
    assert message == "the deadline passed before the work was begun"
    assert await probe.ends() == {"expired": 1}


async def test_a_job_that_waited_longer_than_its_queue_allows_is_ended_as_triton_does(probe):
    await probe.enqueue("a", begin_within_ms=1)

    begin_ms = int((await probe.record("a"))["begin"])
    await until(lambda: time.time() * 1000 > begin_ms + 2)
    claim = await probe.claim()

    assert ids(claim) == []
    ((id_, code, message, _),) = await probe.replies()
    assert (id_, code, message) == ("a", Code.UNAVAILABLE, "Request timeout expired")


async def test_the_limit_of_waiting_ends_with_the_claim(probe):
    await probe.enqueue("a", begin_within_ms=100)
    lease = await probe.lease()

    begin_ms = int((await probe.record("a"))["begin"])
    await until(lambda: time.time() * 1000 > begin_ms + 2)
    reaped = await probe.queue.reap(0)

    assert reaped.expired == 0
    assert [held.name for held in await probe.settle(lease)] == ["FINE"]


async def test_a_begun_job_that_is_tried_again_may_take_until_its_deadline(probe):
    await probe.enqueue("a", begin_within_ms=100)
    await probe.lease("worker-1")
    begin_ms = int((await probe.record("a"))["begin"])
    await until(lambda: time.time() * 1000 > begin_ms + 2)
    await probe.queue.release_leases_of(FIRST.model, "worker-1")

    second = await probe.claim("worker-2")

    assert ids(second) == ["a"]
    assert await probe.ends() == {}


async def test_a_job_that_was_given_back_unbegun_still_has_its_limit_of_waiting(probe):
    await probe.enqueue("a", begin_within_ms=50)
    lease = await probe.lease()
    await probe.queue.give_back(FIRST.model, lease.token, ["a"])

    await probe.reaped(lambda reaped: reaped.expired == 1)

    ((_, code, message, _),) = await probe.replies()
    assert (code, message) == (Code.UNAVAILABLE, "Request timeout expired")


async def test_a_job_that_must_run_alone_is_given_alone_and_first(probe):
    await probe.enqueue("suspect")
    await probe.lease("worker-1")
    await probe.enqueue("other", priority=0)
    await probe.queue.release_leases_of(FIRST.model, "worker-1")

    busy = await probe.claim("worker-2", idle=False)
    idle = await probe.claim("worker-2")
    rest = await probe.claim("worker-3")

    assert (ids(busy), busy.does_not_fit) == ([], True)
    assert [(lease.id, lease.alone) for lease in idle.leases] == [("suspect", True)]
    assert ids(rest) == ["other"]


async def test_a_batch_waits_for_the_rows_it_prefers(probe):
    terms = {"enough_rows": 3, "batch_delay_us": 60_000_000}
    await probe.enqueue("a", "b")

    early = await probe.claim(**terms)
    await probe.enqueue("c")
    full = await probe.claim(**terms)

    assert ids(early) == []
    assert 0 < early.wait_us <= 60_000_000
    assert set(ids(full)) == {"a", "b", "c"}


async def test_rows_are_what_a_batch_waits_for_however_few_requests_bring_them(probe):
    await probe.enqueue("a", "b", rows=4)

    claim = await probe.claim(enough_rows=8, batch_delay_us=60_000_000)

    assert ids(claim) == ["a", "b"]


async def test_a_batch_waits_no_longer_than_its_oldest_job_may(probe):
    terms = {"enough_rows": 8, "batch_delay_us": 300_000}
    await probe.enqueue("oldest")
    early = await probe.claim(**terms)
    # More urgent, and new: it does not make the older one wait longer.
    began = time.monotonic()
    await until(lambda: time.monotonic() > began + early.wait_us / 2e6)
    await probe.enqueue("urgent", priority=0)
    still_early = await probe.claim(**terms)

    assert 0 < still_early.wait_us < early.wait_us
    await until(lambda: time.monotonic() > began + early.wait_us / 1e6)
    assert ids(await probe.claim(**terms)) == ["urgent", "oldest"]


@pytest.mark.parametrize(
    ("rows", "taken"),
    [((1, 1, 1), 2), ((1, 1, 4), 3), ((3, 4), 1), ((2, 5), 1), ((7,), 1), ((1,), 0)],
)
async def test_a_batch_that_has_a_preferred_size_waits_for_no_more(probe, rows, taken):
    """The largest that what waits can have, in its order; a batch larger than all waits no more."""
    terms = {"enough_rows": 6, "batch_delay_us": 60_000_000, "preferred": (2, 6)}
    names = "abc"[: len(rows)]
    for name, size in zip(names, rows, strict=True):
        await probe.enqueue(name, rows=size)

    claim = await probe.claim(**terms)

    assert ids(claim) == list(names[:taken])
    assert bool(claim.wait_us) == (taken == 0)
    assert len(ids(await probe.claim("worker-2", batch_delay_us=0))) == len(names) - taken


async def test_without_a_delay_a_batch_has_a_preferred_size_if_it_can(probe):
    await probe.enqueue("a", "b", "c")

    first = await probe.claim(preferred=(2,))
    second = await probe.claim("worker-2", preferred=(2,))

    assert (ids(first), ids(second)) == (["a", "b"], ["c"])


async def test_once_the_delay_is_over_a_batch_has_all_that_waits(probe):
    terms = {"enough_rows": 6, "batch_delay_us": 1, "preferred": (2, 6)}
    await probe.enqueue("a", "b", "c")

    assert ids(await probe.claim(**terms)) == ["a", "b", "c"]


async def test_nothing_to_do_is_not_a_reason_to_be_patient(probe):
    claim = await probe.claim(enough_rows=8, batch_delay_us=60_000_000)

    assert (ids(claim), claim.wait_us) == ([], None)


@pytest.mark.parametrize("end", ["cancel", "expire", "crash", "fail"])
async def test_a_job_counts_for_its_version_however_it_ends(probe, end):
    ref = FIRST._replace(revision_id="g")
    await probe.enqueue("a", ref=ref, ttl_ms=1 if end == "expire" else LONG_MS)
    if end == "cancel":
        await probe.queue.cancel(FIRST.model, "a")
    elif end == "expire":
        await probe.reaped(lambda reaped: reaped.expired)
    elif end == "crash":
        for _ in range(2):
            await probe.lease("worker-1", ref=ref)
            await probe.queue.release_leases_of(FIRST.model, "worker-1")
    else:
        lease = await probe.lease("worker-1", ref=ref)
        await probe.queue.retry(FIRST.model, lease.token, ["a"], delay_ms=0, most=1, why="broken")

    names = {"cancel": "cancelled", "expire": "expired", "crash": "dead", "fail": "fail_count"}
    assert await probe.ends() == {names[end]: 1}


# sleeping


def asleep(probe, worker="worker-1"):
    """A claim that sleeps longer than any test may take, unless the bell rings."""
    link = probe.links.blocking(probe.keys.tag)
    return asyncio.create_task(probe.queue.claim(FIRST, worker, "1", TERMS, link, sleep_s=300))


async def test_a_sleeping_worker_is_woken_by_the_next_job(probe):
    sleeping = asleep(probe)
    await until(lambda: _blocked(probe))

    await probe.enqueue("a")

    assert ids(await sleeping) == ["a"]


async def test_nobody_rings_and_the_sleep_ends_by_itself(probe):
    link = probe.links.blocking(probe.keys.tag)

    assert ids(await probe.queue.claim(FIRST, "worker-1", "1", TERMS, link)) == []


async def test_one_job_wakes_one_of_two_sleepers(probe):
    sleeping = [asleep(probe, "worker-1"), asleep(probe, "worker-2")]
    await until(lambda: _blocked(probe, 2))

    await probe.enqueue("a")
    done, others = await asyncio.wait(sleeping, return_when=asyncio.FIRST_COMPLETED)

    assert [ids(one.result()) for one in done] == [["a"]]
    assert await _blocked(probe, 1)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def test_what_one_worker_leaves_wakes_the_next(probe):
    await probe.enqueue("a", "b")
    await probe.claim("worker-1", rows=1)

    assert ids(await asleep(probe, "worker-2")) == ["b"]


async def test_a_sleeping_worker_can_be_woken_for_nothing(probe):
    sleeping = asleep(probe)
    await until(lambda: _blocked(probe))

    await probe.queue.wake(FIRST, "worker-1")

    assert ids(await sleeping) == []


async def test_who_waits_rings_again_for_one_who_took_the_ring_and_never_claimed(probe):
    await probe.enqueue("a")
    await probe.command("DEL", probe.keys.bells + FIRST.queue)
    sleeping = asleep(probe, "worker-2")
    await until(lambda: _blocked(probe))

    async def looked():
        assert await probe.queue.state(FIRST.model, "a") in ("waiting", "leased")
        return sleeping.done()

    await until(looked)
    assert ids(await sleeping) == ["a"]


async def test_who_has_just_come_needs_no_second_ring(probe):
    await probe.enqueue("a")
    await probe.queue.state(FIRST.model, "a")

    assert await probe.command("LLEN", probe.keys.bells + FIRST.queue) == 1


async def test_bells_do_not_pile_up(probe):
    for i in range(200):
        await probe.enqueue(f"job-{i}")

    bell = probe.keys.bells + FIRST.queue
    assert 1 <= await probe.command("LLEN", bell) <= 16
    assert 0 < await probe.ttl_ms(bell) <= 60_000


async def _blocked(probe, count=1):
    told = (await probe.command("INFO", "clients")).decode()
    return f"blocked_clients:{count}" in told
