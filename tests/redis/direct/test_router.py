"""What goes straight to a worker beside its gateway, what goes into the queue, and when."""

import asyncio
import struct

import pytest
from support.clients.direct import LARGE, Neighbour, serving
from support.probe import FIRST, LONG_MS
from support.waiting import until

from penstock.errors import Code, JobFailed
from penstock.gateway.delivery.direct.worker_connections import SILENCE_S
from penstock.scheduler.observe.counters import statistics_of
from penstock.transport.lane import LEFT


async def test_a_small_request_is_handed_over_and_answered(gateway, neighbour):
    answer = gateway.ask("a", rows=3)
    one = await neighbour.next_job()

    assert neighbour.gateway == "gateway-1"
    assert (one.rows, one.payload) == (3, b"input of a")
    assert LONG_MS - 60_000 < one.remaining_ms <= LONG_MS
    assert await gateway.probe.waiting() == []
    neighbour.end(one)
    assert await answer == b"input of a!"


async def test_an_error_is_the_callers(gateway, neighbour):
    answer = gateway.ask("a")
    neighbour.end(await neighbour.next_job(), Code.INVALID_ARGUMENT, "so it cannot be")

    with pytest.raises(JobFailed, match="so it cannot be") as failed:
        await answer
    assert failed.value.code is Code.INVALID_ARGUMENT


async def test_what_the_worker_leaves_is_queued_until_it_has_room_again(gateway, neighbour):
    first = gateway.ask("a")
    neighbour.end(await neighbour.next_job(), LEFT)
    await gateway.queued("a")
    second = gateway.ask("b")
    await gateway.queued("a", "b")

    neighbour.has_room(4)
    await gateway.has_room()
    third = gateway.ask("c")
    neighbour.end(await neighbour.next_job())

    assert await third == b"input of c!"
    await gateway.work_off()
    await gateway.work_off()
    assert {await first, await second} == {b"input of a!", b"input of b!"}


async def test_a_worker_that_dies_leaves_its_jobs_to_others(gateway, neighbour):
    answers = await handed_together(gateway, neighbour, "a", "b")
    neighbour.transport.abort()

    await gateway.queued("a", "b")
    # One of them may have ended it: they run alone, and once more only (I7).
    record = await gateway.probe.record("a")
    assert (record["crashes"], record["alone"]) == ("1", "1")
    # The claim of the dead one, which slept on the bell, may come only now.
    assert (await gateway.probe.claim(worker=neighbour.boot_id)).leases == []
    assert [one.id for one in (await gateway.probe.claim()).leases] == ["a"]
    await gateway.probe.reaped(lambda reaped: reaped.dead, died="worker-1.")
    await gateway.work_off()
    with pytest.raises(JobFailed, match="set aside"):
        await answers[0]
    assert await answers[1] == b"input of b!"
    found = await statistics_of(gateway.probe.queue, FIRST.model, FIRST.version)
    assert (found["requeued"], found["crashes"]) == (2, 3)


async def test_a_worker_that_ends_in_order_has_not_died_of_what_came_too_late(gateway, neighbour):
    answer = gateway.ask("a")
    await neighbour.next_job()
    neighbour.take_leave()

    await gateway.queued("a")
    assert "crashes" not in await gateway.probe.record("a")
    await gateway.work_off()
    assert await answer == b"input of a!"


async def test_a_worker_that_is_silent_is_taken_for_dead(gateway, neighbour):
    answer = gateway.ask("a")
    one = await neighbour.next_job()
    gateway.clock.ahead_s = SILENCE_S + 0.1

    await gateway.queued("a")
    assert "crashes" not in await gateway.probe.record("a")
    neighbour.end(one)
    await gateway.work_off()
    assert await answer == b"input of a!"


async def test_a_silent_worker_that_has_nothing_is_left_in_peace(gateway, neighbour):
    gateway.clock.ahead_s = 100 * SILENCE_S
    answer = gateway.ask("a")
    one = await neighbour.next_job()
    await asyncio.sleep(0.5)  # several times the pause between two looks
    neighbour.end(one)

    assert await answer == b"input of a!"


async def test_who_gives_up_is_forgotten(gateway, neighbour):
    answer = gateway.ask("a")
    one = await neighbour.next_job()
    answer.cancel()
    await asyncio.gather(answer, return_exceptions=True)
    neighbour.end(one)
    following = gateway.ask("b")
    neighbour.end(await neighbour.next_job())

    assert await following == b"input of b!"
    assert len(gateway.pending) == 0
    assert await gateway.probe.waiting() == []


async def test_what_was_given_up_is_not_queued_when_the_worker_dies(gateway, neighbour):
    given_up, kept = await handed_together(gateway, neighbour, "a", "b")
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    neighbour.transport.abort()

    await gateway.queued("b")
    await gateway.work_off()
    await kept


async def handed_together(gateway, neighbour, *ids, **changes):
    """Who asks while the worker is busy goes with others, when it is free."""
    first = gateway.ask("first")
    one = await neighbour.next_job()
    answers = [gateway.ask(id_, **changes) for id_ in ids]
    await until(lambda: len(gateway.pending) == 1 + len(ids))
    neighbour.end(one)
    await first
    await until(lambda: len(neighbour.jobs) == len(ids))
    return answers


async def test_a_worker_has_as_much_at_a_time_as_it_has_room_for(gateway, neighbour):
    first = gateway.ask("first")
    one = await neighbour.next_job()
    answers = [gateway.ask(f"{number}", rows=2) for number in range(3)]
    await until(lambda: len(gateway.pending) == 4)
    assert neighbour.jobs == []

    neighbour.end(one)
    await until(lambda: len(neighbour.jobs) == 2)
    for one in neighbour.jobs[:2]:
        neighbour.end(one)
    await until(lambda: len(neighbour.jobs) == 3)
    neighbour.end(neighbour.jobs[2])
    assert await asyncio.gather(first, *answers) == [
        f"input of {id_}!".encode() for id_ in ("first", 0, 1, 2)
    ]


async def test_one_that_needs_more_room_than_there_is_goes_alone(gateway, neighbour):
    answer = gateway.ask("a", rows=100)
    neighbour.end(await neighbour.next_job())

    assert await answer == b"input of a!"


async def test_nobody_waits_long_for_a_busy_worker(redis_url):
    async with serving(redis_url) as gateway, Neighbour().listening() as one:
        gateway.knows(one.record())
        await until(lambda: one.gateway)
        one.has_room(4)
        await gateway.has_room()
        first = gateway.ask("a")
        handed = await one.next_job()
        second = gateway.ask("b")

        await gateway.queued("b")
        await gateway.work_off()
        assert await second == b"input of b!"
        one.end(handed)
        assert await first == b"input of a!"


async def test_who_gives_up_before_the_worker_is_free_goes_nowhere(gateway, neighbour):
    first = gateway.ask("a")
    one = await neighbour.next_job()
    second = gateway.ask("b")
    await until(lambda: len(gateway.pending) == 2)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    third = gateway.ask("c")
    neighbour.end(one)
    await first

    following = await neighbour.next_job()
    assert following.payload == b"input of c"
    neighbour.end(following)
    await third


async def test_what_waits_for_a_worker_that_dies_is_nobodys_fault(gateway, neighbour):
    answer = gateway.ask("a")
    await neighbour.next_job()
    waiting = gateway.ask("b")
    await until(lambda: len(gateway.pending) == 2)
    neighbour.transport.abort()

    await gateway.queued("a", "b")
    assert (await gateway.probe.record("a"))["alone"] == "1"
    assert "alone" not in await gateway.probe.record("b")
    await gateway.work_off()
    await gateway.work_off()
    await asyncio.gather(answer, waiting)


async def test_what_waits_is_not_asked_for_in_the_store(gateway, neighbour):
    """It would not be found there, and queued once more."""
    first = gateway.ask("a")
    one = await neighbour.next_job()
    second = gateway.ask("b")
    await until(lambda: len(gateway.pending) == 2)
    states = [await gateway.router.state(FIRST.model, id_) for id_ in ("a", "b", "c")]

    assert states == ["leased", "waiting", None]
    neighbour.end(one)
    await first
    neighbour.end(await neighbour.next_job())
    await second


async def test_another_worker_has_what_comes_meanwhile(gateway, neighbour):
    async with Neighbour().listening() as other:
        gateway.knows(neighbour.record(), other.record())
        await until(lambda: other.gateway)
        other.has_room(4)
        await gateway.has_room()

        answers = [gateway.ask("a")]
        await until(lambda: neighbour.jobs or other.jobs)
        answers.append(gateway.ask("b"))
        await until(lambda: neighbour.jobs and other.jobs)
        for one in (neighbour, other):
            one.end(one.jobs.pop())
        await asyncio.gather(*answers)


@pytest.mark.usefixtures("gateway")
async def test_a_worker_that_comes_back_is_called_again(neighbour):
    neighbour.transport.abort()
    neighbour.gateway = None
    await until(lambda: neighbour.gateway, 20)


async def test_statistics_wait_for_what_workers_have_ended(gateway, neighbour):
    reading = asyncio.create_task(gateway.router.statistics([((FIRST.model, 1), False)]))
    await until(lambda: neighbour.asked)
    assert not reading.done()
    neighbour.note()

    assert [found.get("accepted", 0) for found in await reading] == [0]


async def test_statistics_do_not_wait_for_a_worker_that_dies(gateway, neighbour):
    reading = asyncio.create_task(gateway.router.statistics([((FIRST.model, 1), False)]))
    await until(lambda: neighbour.asked)
    neighbour.transport.abort()

    await asyncio.wait_for(reading, 5)


async def test_a_job_that_cannot_be_sent_leaves_nothing_behind(gateway, neighbour):
    """Its numbers have no room on a lane, or its text cannot be written: a defect, told once."""
    for wrong in ({"ttl_ms": 1 << 32}, {"gateway": "\udcff", "begin_within_ms": LONG_MS}):
        with pytest.raises((struct.error, UnicodeError)):
            await asyncio.wait_for(gateway.ask("wrong", **wrong), 20)

        assert (len(gateway.pending), gateway.pending.payload_bytes) == (0, 0)
        # A revision retires once nothing of it is waited for.
        assert (gateway.pending.waiting_for(FIRST), gateway.pending.refs()) == (0, [])
    answer = gateway.ask("right")
    neighbour.end(await neighbour.next_job())
    assert await answer == b"input of right!"


@pytest.mark.usefixtures("neighbour")
async def test_what_a_request_lent_comes_back_when_it_cannot_be_sent(gateway):
    with pytest.raises(struct.error):
        await asyncio.wait_for(gateway.ask("wrong", payload=LARGE, ttl_ms=1 << 32), 20)

    assert gateway.lender.lent_bytes == 0
    assert len(gateway.pending) == 0


async def test_neighbours_of_a_job_that_cannot_be_sent_are_answered(gateway, neighbour):
    first = gateway.ask("first")
    busy = await neighbour.next_job()
    wrong = gateway.ask("wrong", ttl_ms=1 << 32)
    right = gateway.ask("right")
    await until(lambda: len(gateway.pending) == 3)
    neighbour.end(busy)

    await gateway.queued("right", "wrong")
    await gateway.work_off()
    await gateway.work_off()
    assert {await first, await right, await wrong} == {
        b"input of first!",
        b"input of right!",
        b"input of wrong!",
    }
