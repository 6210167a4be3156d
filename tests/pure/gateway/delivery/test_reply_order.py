"""Answers leave in the order of their requests, and nobody waits for who has gone."""

import asyncio

import pytest

from penstock.clock import Deadline
from penstock.errors import DeadlineExceeded
from penstock.gateway.delivery.reply_order import ReplyOrder


class Line:
    """Requests that are answered when the test says so; `left` is the order in which they were."""

    def __init__(self, count):
        loop = asyncio.get_running_loop()
        order = ReplyOrder()
        self.left = []
        self.answers = [loop.create_future() for _ in range(count)]
        self.tasks = [
            asyncio.ensure_future(self._ask(order, place, answer))
            for place, answer in enumerate(self.answers)
        ]

    async def _ask(self, order, place, answer):
        try:
            return await order.keep(answer)
        finally:
            self.left.append(place)

    async def settle(self):
        for _ in range(10):
            await asyncio.sleep(0)
        return self.left


@pytest.fixture
async def line():
    line = Line(4)
    await line.settle()
    return line


async def test_an_answer_waits_for_those_before_it(line):
    for place in (2, 1):
        line.answers[place].set_result(b"%d" % place)
    assert await line.settle() == []

    line.answers[0].set_result(b"0")

    assert await line.settle() == [0, 1, 2]
    assert [await task for task in line.tasks[:3]] == [b"0", b"1", b"2"]


async def test_a_failure_has_its_turn_too(line):
    line.answers[1].set_exception(ValueError("no"))
    assert await line.settle() == []

    line.answers[0].set_result(b"0")

    assert await line.settle() == [0, 1]
    with pytest.raises(ValueError, match="no"):
        await line.tasks[1]


async def test_who_has_gone_is_not_waited_for(line):
    line.answers[1].set_result(b"1")
    line.tasks[0].cancel()

    assert await line.settle() == [0, 1]


async def test_who_has_gone_lets_nobody_overtake_those_before_it(line):
    line.answers[2].set_result(b"2")
    line.tasks[1].cancel()
    assert await line.settle() == [1]

    line.answers[0].set_result(b"0")

    assert await line.settle() == [1, 0, 2]


async def test_who_leaves_while_its_answer_waits_lets_nobody_overtake_either(line):
    for place in (1, 2):
        line.answers[place].set_result(b"%d" % place)
    await line.settle()
    line.tasks[1].cancel()
    assert await line.settle() == [1]

    line.answers[0].set_result(b"0")

    assert await line.settle() == [1, 0, 2]


async def test_nobody_waits_for_those_before_beyond_its_own_deadline():
    order, loop = ReplyOrder(), asyncio.get_running_loop()
    slow, quick = loop.create_future(), loop.create_future()
    first = asyncio.create_task(order.keep(slow, Deadline.after(600)))
    await asyncio.sleep(0)
    second = asyncio.create_task(order.keep(quick, Deadline.after(0.05)))
    quick.set_result(b"2")

    with pytest.raises(DeadlineExceeded, match="while earlier requests"):
        await asyncio.wait_for(second, 20)
    slow.set_result(b"1")
    assert await first == b"1"
