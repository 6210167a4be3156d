"""What tells whether a queue is well."""

import time

from support.probe import FIRST, SECOND
from support.waiting import until

from penstock.models.refs import StageRef
from penstock.scheduler.jobs.types import Held
from penstock.scheduler.observe.counters import add_counts
from penstock.scheduler.observe.loads import InWork, leases_of


async def test_the_age_of_a_lease_counts_from_the_claim_however_often_it_is_renewed(probe):
    await probe.enqueue("a", "b", "c")
    claim = await probe.claim(rows=2)
    began_s = time.monotonic()
    await until(lambda: time.monotonic() > began_s + 0.05)
    await probe.queue.renew(FIRST.model, [(one.id, one.token) for one in claim.leases], 60_000)
    await probe.lease("worker-2")

    found = await leases_of(probe.queue, [FIRST, SECOND])

    assert set(found) == {FIRST}
    assert found[FIRST].leases == 3
    assert 50 <= found[FIRST].oldest_ms < 60_000


async def test_leases_are_those_of_the_stages_that_were_asked_for(probe):
    other = StageRef("other", 1, 0, "g")
    await probe.enqueue("a")
    await probe.enqueue("b", ref=other)
    await probe.claim(ref=other)
    await probe.advance(await probe.lease())
    await probe.claim(ref=SECOND)

    assert set(await leases_of(probe.queue, [SECOND])) == {SECOND}
    assert set(await leases_of(probe.queue, [FIRST, SECOND, other])) == {SECOND, other}
    assert await leases_of(probe.queue, []) == {}


async def test_ended_jobs_are_in_work_no_more(probe):
    await probe.enqueue("a")
    lease = await probe.lease()
    before = await leases_of(probe.queue, [FIRST])
    await probe.settle(lease)

    assert isinstance(before[FIRST], InWork)
    assert await leases_of(probe.queue, [FIRST]) == {}


async def test_each_lost_worker_counts_as_a_crash_of_each_of_its_jobs(probe):
    await probe.enqueue("a", "b")
    await probe.claim("worker-1")
    await probe.queue.release_leases_of(FIRST.model, "worker-1")
    await probe.lease("worker-2")
    await probe.queue.release_leases_of(FIRST.model, "worker-2")

    counted = await probe.statistics()

    assert (counted["crashes"], counted["requeued"], counted["dead"]) == (3, 2, 1)


async def test_results_of_a_worker_that_lost_its_lease_are_counted(probe):
    await probe.enqueue("a", "b", "c")
    late = (await probe.claim("worker-1")).leases
    await probe.queue.release_leases_of(FIRST.model, "worker-1")

    settled = await probe.settle(*late[:2])
    advanced = await probe.advance(late[2])

    assert [*settled, *advanced] == [Held.LOST] * 3
    assert (await probe.statistics())["fenced"] == 3


async def test_a_result_that_is_sent_again_is_not_fenced(probe):
    await probe.enqueue("a", "b")
    leases = (await probe.claim("worker-1")).leases
    for _ in range(2):
        await probe.settle(leases[0])
        await probe.advance(leases[1])

    assert "fenced" not in await probe.statistics()


async def test_what_processes_count_themselves_is_added(probe):
    for _ in range(2):
        await add_counts(probe.queue, FIRST.model, FIRST.version, {"resubmitted": 2, "full": 1})

    counted = await probe.statistics()

    assert (counted["resubmitted"], counted["full"]) == (4, 2)
