"""A stream's requests are bounded by the bytes of its answers, as soon as their size is known."""

import asyncio

import pytest

from penstock.gateway.limits.stream_room import FIRST, StreamRoom
from penstock.scheduler.replies.reader import next_count


async def entered(room, most=1000):
    """How many may enter before one has to wait."""
    for count in range(most):
        try:
            async with asyncio.timeout(0.01):
                await room.enter()
        except TimeoutError:
            return count
    return most


@pytest.fixture
def room():
    return StreamRoom(256, 1000)


async def test_few_run_before_the_first_answer_is_known(room):
    assert await entered(room) == FIRST


async def test_small_answers_leave_room_for_as_many_as_ever(room):
    await room.enter()
    room.answered(1)
    room.sent(1)

    assert await entered(room) == 256


async def test_each_that_runs_counts_as_much_as_the_largest_answer(room):
    await room.enter()
    room.answered(250)
    room.sent(250)

    assert await entered(room) == 4


async def test_unsent_answers_take_room(room):
    for _ in range(3):
        await room.enter()
    room.answered(250)
    room.answered(250)

    assert await entered(room) == 1
    room.sent(250)
    assert await entered(room) == 1


async def test_one_may_always_run(room):
    await room.enter()
    room.answered(5000)
    room.sent(5000)

    assert await entered(room) == 1


async def test_requests_that_are_answered_in_parts_count_what_may_be_on_its_way():
    room = StreamRoom(256, 64 << 20)
    await room.enter()
    room.aside()
    room.part(1 << 20)

    for _ in range(14):
        await room.enter()
        room.aside()

    assert await entered(room) < 16


@pytest.mark.parametrize(
    ("count", "sizes", "following"),
    [
        (8, [100, 200], 16),
        (256, [1], 256),
        (256, [8 << 20, 100], 2),
        (256, [100 << 20], 1),
        (1, [100], 2),
        (8, [], 16),
    ],
)
def test_large_replies_are_read_a_few_at_a_time(count, sizes, following):
    assert next_count(count, sizes) == following
