"""What a node makes of the signs of life that come over a worker's pipe."""

import asyncio
import os

import pytest
from support.waiting import until

from penstock.workers.liveness.heartbeat_pipe import (
    BEAT,
    BEAT_S,
    LONELY_BEAT,
    RESTING_BEAT,
    RESTING_BEAT_S,
    heartbeat_pipe,
)


async def lived_for_s(signs):
    """How long a worker is taken to live that has just given *signs*."""
    with heartbeat_pipe() as pipe:
        os.write(pipe.write_end, signs)
        await until(lambda: pipe._sign)
        now_s = asyncio.get_running_loop().time()
        return max((s for s in range(60) if pipe.lives(now_s + s)), default=None)


@pytest.mark.parametrize(
    ("signs", "after_s"),
    [
        (BEAT, BEAT_S),
        (RESTING_BEAT, RESTING_BEAT_S),
        (BEAT + RESTING_BEAT, RESTING_BEAT_S),
    ],
)
async def test_a_worker_lives_until_it_has_missed_a_beat(signs, after_s):
    assert after_s <= await lived_for_s(signs) <= after_s + 2 * BEAT_S


async def test_a_worker_that_came_back_to_work_is_missed_soon():
    assert await lived_for_s(RESTING_BEAT + BEAT) <= 2 * BEAT_S


async def test_nobody_vouches_for_a_worker_that_the_registry_does_not_hear():
    assert await lived_for_s(LONELY_BEAT) is None


async def test_a_worker_that_rests_is_silent_only_once_its_next_sign_was_due():
    with heartbeat_pipe() as pipe:
        os.write(pipe.write_end, RESTING_BEAT)
        await until(lambda: pipe._sign)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await pipe.until_silent(0.05)

        os.write(pipe.write_end, BEAT)
        await until(lambda: not pipe._rests)
        async with asyncio.timeout(20):
            await pipe.until_silent(0.05)
