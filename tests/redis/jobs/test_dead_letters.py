"""Dead letters: what is kept of a job that ended its workers, and one more try."""

import asyncio

import pytest
from support.probe import FIRST, LONG_MS, SECOND, job
from support.waiting import until

from penstock.errors import Code
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.dead_letters import Letters
from penstock.scheduler.jobs.enqueue import LetterGone
from penstock.scheduler.jobs.payloads import LARGE_BYTES

KEPT = 256
MOST_BYTES = 1 << 20
WEEK_MS = 7 * 86_400_000


@pytest.fixture
def letters(probe):
    return Letters(probe.links, probe.queue.partitions)


async def set_aside(probe, id_, ref=FIRST, **changes):
    """A job that ends two workers."""
    await probe.enqueue(id_, ref=ref, **changes)
    for worker in ("first", "second"):
        await probe.lease(worker, ref=ref, rows=100)
        await probe.queue.release_leases_of(ref.model, worker)


async def retried(letters, letter, again):
    answer = asyncio.get_running_loop().create_future()
    letters.retry(letter, again, answer.set_result)
    return await answer


async def test_a_letter_says_what_was_set_aside_and_keeps_what_it_carried(probe, letters):
    await set_aside(probe, "bad", payload=b"poison", rows=3)

    (letter,) = await letters.listed()

    assert (letter.job, letter.ref, letter.crashes, letter.rows) == ("bad", FIRST, 2, 3)
    assert letter.worker.startswith("second.")
    assert letter.accepted_ms <= letter.time_ms
    assert letter.payload_bytes == 6
    assert await letters.payload(letter) == b"poison"
    assert WEEK_MS - 60_000 < await probe.ttl_ms(probe.keys.letters + "bad") <= WEEK_MS


async def test_large_payloads_are_kept_up_to_a_mebibyte(probe, letters):
    await set_aside(probe, "large", payload=b"l" * (2 * LARGE_BYTES))
    await set_aside(probe, "too large", payload=b"t" * (MOST_BYTES + 1))

    found = {letter.job: letter for letter in await letters.listed()}

    assert found["large"].payload_bytes == 2 * LARGE_BYTES
    assert await letters.payload(found["large"]) == b"l" * (2 * LARGE_BYTES)
    assert found["too large"].payload_bytes is None
    # Nothing of either is left where jobs are.
    assert await probe.names(f"{probe.keys.jobs}*") == set()


async def test_all_that_letters_carry_has_a_limit(probe, letters):
    for number in range(20):
        await set_aside(probe, f"job-{number}", payload=bytes(MOST_BYTES))

    found = await letters.listed()

    assert len(found) == 20
    assert [one.payload_bytes for one in found] == [MOST_BYTES] * 16 + [None] * 4


async def test_letters_are_listed_by_model_the_newest_first(probe, letters):
    other = StageRef("letters:2", 3, 0, "abc")
    for id_, ref in (("one", FIRST), ("two", other), ("three", FIRST)):
        await set_aside(probe, id_, ref)

    assert [one.job for one in await letters.listed()] == ["three", "two", "one"]
    assert [(one.job, one.ref) for one in await letters.listed(other.model)] == [("two", other)]
    assert await letters.listed("nobody") == []


async def test_a_retry_runs_alone_at_the_head_and_keeps_its_letter_until_it_succeeds(
    probe, letters
):
    await set_aside(probe, "bad", payload=b"poison")
    await probe.enqueue("urgent", "other", ttl_ms=LONG_MS // 2)
    (letter,) = await letters.listed()

    answer = await retried(letters, letter, job("again", gateway="gateway-2"))
    claim = await probe.claim("worker-3")
    kept = await letters.listed()
    await probe.settle(*claim.leases)
    await letters.forget(letter)

    assert answer is None
    ((id_, payload, alone),) = [(one.id, one.payload, one.alone) for one in claim.leases]
    assert (id_, payload, alone) == ("again", b"poison", True)
    assert kept == [letter]
    assert [(id_, code) for id_, code, *_ in await probe.replies("gateway-2")] == [
        ("again", Code.OK)
    ]
    assert await letters.listed() == []
    assert await probe.names(f"{probe.keys.letters}*") == set()


async def test_a_retry_that_ends_one_more_worker_becomes_the_letter(probe, letters):
    await set_aside(probe, "bad")
    (letter,) = await letters.listed()
    await retried(letters, letter, job("again", gateway="gateway-2"))
    await probe.lease("worker-3")
    await probe.queue.release_leases_of(FIRST.model, "worker-3")

    found = await letters.listed()

    assert [(one.job, one.crashes) for one in found] == [("again", 2)]
    assert await letters.payload(found[0]) == b"input of bad"
    assert await probe.names(f"{probe.keys.letters}*") == {probe.keys.letters + "again"}
    ((_, code, message, _),) = await probe.replies("gateway-2")
    assert code == Code.INTERNAL
    assert "set aside" in message


async def test_a_retry_that_is_sent_again_is_made_once(probe, letters):
    await set_aside(probe, "bad")
    (letter,) = await letters.listed()

    answers = [await retried(letters, letter, job("again")) for _ in range(2)]
    (lease,) = (await probe.claim("worker-3")).leases
    answers.append(await retried(letters, letter, job("again")))
    await probe.settle(lease)
    answers.append(await retried(letters, letter, job("again")))

    assert answers == [None, "waiting", "leased", "succeeded"]
    assert (await probe.statistics())["accepted"] == 2
    assert (await probe.claim("worker-3")).leases == []


async def test_what_is_gone_cannot_be_retried_and_says_why(probe, letters):
    await set_aside(probe, "bad")
    (letter,) = await letters.listed()
    await probe.command("UNLINK", probe.keys.letters + "bad")
    empty = await retried(letters, letter, job("again"))
    await letters.forget(letter)
    removed = await retried(letters, letter, job("again"))

    assert isinstance(empty, LetterGone)
    assert "not kept for longer than a week" in str(empty)
    assert isinstance(removed, LetterGone)
    assert "it has been removed" in str(removed)
    assert await probe.waiting() == []


async def test_the_oldest_letters_make_room(probe, letters):
    await probe.enqueue(*(f"{place:03d}" for place in range(KEPT + 4)))
    while (claim := await probe.claim("first", rows=1)).leases:
        await probe.queue.release_leases_of(FIRST.model, "first")

    found = await letters.listed()

    assert claim.leases == []
    assert len(found) == KEPT
    assert len(await probe.names(f"{probe.keys.letters}*")) == KEPT
    assert (await probe.statistics())["dead"] == KEPT + 4


async def test_a_job_that_died_in_a_later_stage_is_retried_there(probe, letters):
    await probe.enqueue("bad")
    await probe.advance(await probe.lease())
    for worker in ("first", "second"):
        await probe.lease(worker, ref=SECOND)
        await probe.queue.release_leases_of(FIRST.model, worker)
    (letter,) = await letters.listed()

    await retried(letters, letter, job("again", ref=letter.ref))
    lease = await probe.lease("worker-3", ref=SECOND)

    assert letter.ref == SECOND
    assert (lease.id, lease.payload) == ("again", b"activations of bad")


async def test_a_retry_that_nobody_waits_for_expires_and_the_letter_stays(probe, letters):
    await set_aside(probe, "bad")
    (letter,) = await letters.listed()
    await retried(letters, letter, job("again", ttl_ms=1))

    await probe.reaped(lambda reaped: reaped.expired)

    assert await letters.listed() == [letter]

    async def tidy():
        return await probe.names(f"{probe.keys.jobs}*") == set()

    assert await until(tidy)
