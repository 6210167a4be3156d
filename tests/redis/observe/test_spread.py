"""How long requests took and waited, counted in buckets by the step that ends their jobs."""

import asyncio
import re

from support.probe import SECOND

from penstock.errors import Code
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.direct import DirectCounters, EndedJob
from penstock.scheduler.jobs.spread import BOUNDS_US, QUEUE, REQUEST, spread_of
from penstock.scheduler.jobs.types import Timing
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.store import scripts


async def spreads(probe):
    counters = await probe.statistics()
    return {kind: spread_of(counters, kind) for kind in (REQUEST, QUEUE)}


async def test_each_success_is_counted_once_in_a_bucket_of_either_kind(probe):
    await probe.enqueue("a", "b", "c")
    claim = await probe.claim()
    await probe.settle(*claim.leases[:2])
    await probe.settle(*claim.leases[:2])
    await probe.settle(claim.leases[2], code=Code.INTERNAL)

    found = await spreads(probe)

    assert [sum(spread.values()) for spread in found.values()] == [2, 2]
    assert (await probe.statistics())["success_count"] == 2


async def test_buckets_add_up_over_batches(probe):
    for id_ in ("a", "b", "c"):
        await probe.enqueue(id_)
        await probe.settle(await probe.lease())

    assert [sum(spread.values()) for spread in (await spreads(probe)).values()] == [3, 3]


async def test_a_request_is_in_the_bucket_of_its_time(probe):
    await probe.enqueue("a")
    await asyncio.sleep(0.06)
    lease = await probe.lease()
    await probe.settle(lease)

    found = await spreads(probe)

    counters = await probe.statistics()
    for kind, took_us in ((REQUEST, counters["success_ns"] / 1000), (QUEUE, lease.wait_us)):
        (bound,) = found[kind]
        assert took_us <= bound
        assert all(smaller < took_us for smaller in BOUNDS_US if smaller < bound)


async def test_a_pipeline_counts_when_its_last_stage_ends(probe):
    await probe.enqueue("a")
    await probe.advance(await probe.lease())
    between = await spreads(probe)
    await probe.settle(await probe.lease(ref=SECOND), ref=SECOND)

    assert sum(between[REQUEST].values()) == 0
    assert sum((await spreads(probe))[REQUEST].values()) == 1


async def test_direct_requests_count_as_those_of_the_queue(probe):
    counters = DirectCounters(probe.queue, StageRef("m", 1, 0), "worker")
    ended = [
        EndedJob(Code.OK, 1, waited_us=10, took_us=1000),
        EndedJob(Code.OK, 1, waited_us=1001, took_us=70_000_000),
        EndedJob(Code.INTERNAL, 1, waited_us=1, took_us=1),
    ]
    told = asyncio.Event()
    counters.add(2, Timing(1, 2, 3), ended)
    counters.send(then=told.set)
    await told.wait()

    found = await statistics_of(probe.queue, "m", 1)

    assert spread_of(found, REQUEST) == {1000: 1, float("inf"): 1}
    assert spread_of(found, QUEUE) == {1000: 1, 2500: 1}


def test_both_ways_have_the_same_bounds():
    in_lua = re.findall(r"us <= (\d+) then return", scripts.load("settle").source)

    assert tuple(map(int, in_lua)) == BOUNDS_US
