"""A gateway that cannot read the registry yet says so, and ends when it is told to."""

import asyncio

import pytest
from structlog.testing import capture_logs

from penstock.gateway.models.known import until_known


async def test_a_start_that_takes_long_is_said_again_and_again():
    known, stop = asyncio.Event(), asyncio.Event()
    with capture_logs() as written:
        waiting = asyncio.create_task(until_known(known, stop, [], say_after_s=0.001))
        while len(written) < 2:  # noqa: ASYNC110 - written by the other task
            await asyncio.sleep(0)
        known.set()
        await waiting

    assert {line["event"] for line in written} == {
        "the registry has not been read yet; see the lines above for a reason"
    }


async def test_a_start_ends_when_it_is_told_to():
    stop = asyncio.Event()
    stop.set()

    await until_known(asyncio.Event(), stop, [])


async def test_a_task_that_fails_meanwhile_ends_the_start():
    async def fail():
        raise KeyError("replies")

    with pytest.raises(KeyError, match="replies"):
        await until_known(asyncio.Event(), asyncio.Event(), [asyncio.create_task(fail())])
