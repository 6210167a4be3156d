"""Helper tasks outlive their own defects, and say so."""

import asyncio

import pytest
from structlog.testing import capture_logs

from penstock.process.supervised import MOST_PAUSE_S, STEADY_S, supervise


class Helper:
    """Raises as often as told, after so many seconds each time, and then returns."""

    def __init__(self, *lives_s):
        self.lives_s = list(lives_s)
        self.now_s = 0.0
        self.pauses = []

    async def run(self):
        if self.lives_s:
            self.now_s += self.lives_s.pop(0)
            raise KeyError("of a later release")

    async def sleep(self, seconds):
        self.pauses.append(seconds)

    async def supervised(self):
        await supervise("helper", self.run, clock=lambda: self.now_s, sleep=self.sleep)
        return self.pauses


async def test_a_helper_that_fails_is_started_again_and_it_is_said():
    with capture_logs() as written:
        assert len(await Helper(0, 0).supervised()) == 2

    assert [line["event"] for line in written] == [
        "a background task failed, starting it again"
    ] * 2
    assert {line["helper"] for line in written} == {"helper"}


async def test_pauses_grow_up_to_a_limit():
    pauses = await Helper(*[0] * 10).supervised()

    assert pauses == sorted(pauses)
    assert pauses[0] < 1
    assert pauses[-1] == MOST_PAUSE_S


async def test_a_helper_that_worked_for_long_is_started_soon():
    first, *_, last = await Helper(0, 0, 0, STEADY_S).supervised()

    assert first == last


async def test_a_helper_can_be_cancelled():
    task = asyncio.create_task(supervise("helper", asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
