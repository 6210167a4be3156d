"""Steps of a language model: the device waits for nobody, and computes two ahead of the log."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.waiting import until

from penstock.language.options import DecodingOptions
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.serve.language.steps import MOST_AHEAD, Steps

CAPACITY = 100


class Counting:
    """A model that says how often it was asked: each token is the number of tokens before it."""

    slots, capacity = 4, CAPACITY

    def __init__(self):
        self.asked = 0
        self.fails_after = CAPACITY

    def take(self, slot, answer):
        pass

    def read(self, slot, answer, begin, end):
        pass

    def move(self, source, target, length):
        pass

    def next_entries(self, answers):
        if self.asked >= self.fails_after:
            raise RuntimeError("the device is gone")
        self.asked += 1
        return [(answer.length,) for answer in answers]


@contextlib.contextmanager
def stepping(model):
    with ThreadPoolExecutor(1) as device:
        renewal = Renewal("m", 2000, run_limit_s=600)
        steps = Steps(Engine(model, ()), device, renewal)
        yield steps
        steps.stop()


def answer(tokens):
    return Answer([1, 2], DecodingOptions(max_tokens=tokens, ignore_end=True))


async def _rests(steps):
    await until(lambda: not steps._runs)


async def test_the_device_goes_on_by_itself_and_no_further_than_it_may():
    """Nobody hears of its steps meanwhile; what is not stored may have to be computed again."""
    model = Counting()
    with stepping(model) as steps:
        one = answer(20)
        steps.admit(one)
        await _rests(steps)
        assert model.asked == MOST_AHEAD
        for _ in range(3):
            await steps.next()
            steps.stored()
            await _rests(steps)

        assert model.asked == MOST_AHEAD + 3
        assert one.log == [2, 3, 4, 5, 6]


async def test_who_comes_is_in_the_next_step_and_who_leaves_in_none():
    model = Counting()
    with stepping(model) as steps:
        first, second, third = answers = [answer(20) for _ in range(3)]
        steps.admit(first)
        for _ in range(MOST_AHEAD):
            await steps.next()
        for one in answers[1:]:
            steps.admit(one)
        steps.evict(third)
        steps.evict(first)
        steps.stored()
        brought = await steps.next()

        assert [new.answer for new in brought.brought] == [second]
        assert not third.log
        assert len(first.log) == MOST_AHEAD


async def test_the_device_rests_once_there_is_nothing_to_do():
    model = Counting()
    with stepping(model) as steps:
        for _ in range(2):
            asked, one = model.asked, answer(1)
            steps.admit(one)
            step = await steps.next()
            steps.stored()
            await _rests(steps)

            assert step.brought[0].finish is not None
            assert model.asked == asked + 1


async def test_what_was_brought_before_the_end_is_told_before_it():
    model = Counting()
    with stepping(model) as steps:
        one = answer(20)
        steps.admit(one)
        await _rests(steps)
        steps.stop()
        told = [await steps.next() for _ in range(MOST_AHEAD + 1)]
        steps.stored()

        assert [len(step.brought) for step in told[:-1]] == [1] * MOST_AHEAD
        assert told[-1] is None
        assert model.asked == MOST_AHEAD


async def test_what_ends_a_step_ends_all_of_them():
    model = Counting()
    model.fails_after = 1
    with stepping(model) as steps:
        steps.admit(answer(20))
        await steps.next()
        with pytest.raises(RuntimeError, match="the device is gone"):
            await steps.next()
        steps.stored()
        steps.admit(answer(20))
        await asyncio.sleep(0)

        assert model.asked == 1
