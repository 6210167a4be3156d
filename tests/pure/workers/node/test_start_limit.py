"""Who may start, when only so many may at a time."""

import asyncio

import pytest

from penstock.workers.node.start_limit import StartLimit


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def queueing():
    """Waits for permits in the background: the names of those that have one, in their order."""
    limit, taken, tasks = StartLimit(2), {}, []

    async def wait(name, restart):
        taken[name] = await limit.acquire(restart=restart)

    def start(name, *, restart=False):
        tasks.append(asyncio.create_task(wait(name, restart)))
        return tasks[-1]

    start.taken = taken
    return start


async def test_no_more_than_so_many_start_at_a_time(queueing):
    for name in "abcd":
        queueing(name)
    await settle()

    assert list(queueing.taken) == ["a", "b"]
    queueing.taken["b"].release()
    await settle()
    assert list(queueing.taken) == ["a", "b", "c"]


async def test_a_permit_is_released_once(queueing):
    for name in "abcd":
        queueing(name)
    await settle()
    for _ in range(3):
        queueing.taken["a"].release()
    await settle()

    assert list(queueing.taken) == ["a", "b", "c"]


async def test_a_restart_goes_first(queueing):
    for name in "abc":
        queueing(name)
    queueing("again", restart=True)
    await settle()
    queueing.taken["a"].release()
    await settle()

    assert list(queueing.taken) == ["a", "b", "again"]


async def test_one_that_gives_up_costs_no_permit(queueing):
    tasks = [queueing(name) for name in "abcd"]
    await settle()
    # At the same moment: it has been called, and has not heard it.
    queueing.taken["a"].release()
    tasks[2].cancel()
    await settle()

    assert list(queueing.taken) == ["a", "b", "d"]
    queueing.taken["b"].release()
    queueing.taken["d"].release()
    queueing("e")
    queueing("f")
    await settle()
    assert list(queueing.taken)[3:] == ["e", "f"]
