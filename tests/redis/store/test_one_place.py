"""A job is in one place: it waits, is leased, or is delayed; once given up, it is in none."""

from support.probe import FIRST, LONG_MS, SECOND

from penstock.scheduler.jobs.types import Held


async def places(probe):
    found = {
        "first": await probe.waiting(),
        "second": await probe.waiting(SECOND.queue),
        "leased": await probe.members(probe.keys.lease),
        "delayed": await probe.members(probe.keys.delay),
    }
    return [name for name, ids in found.items() if "a" in ids]


async def test_each_move_takes_a_job_out_of_where_it_was(probe):
    await probe.enqueue("a")
    assert await places(probe) == ["first"]

    lease = await probe.lease()
    assert await places(probe) == ["leased"]

    await probe.advance(lease)
    assert await places(probe) == ["second"]

    lease = await probe.lease(ref=SECOND)
    await probe.queue.retry(FIRST.model, lease.token, ["a"], delay_ms=LONG_MS, most=3, why="")
    assert await places(probe) == ["delayed"]

    await probe.queue.cancel(FIRST.model, "a")
    assert await places(probe) == []


async def test_a_cancelled_job_goes_to_no_further_stage(probe):
    await probe.enqueue("a")
    lease = await probe.lease()
    await probe.queue.cancel(FIRST.model, "a")

    assert await probe.advance(lease) == [Held.CANCELLED]
    assert await places(probe) == []
    assert await probe.ends() == {"cancelled": 1}
