"""What each caller has had is counted where its job ends: once, and for so many callers."""

import asyncio

import pytest
from support.probe import FIRST, SECOND
from support.processes.commands import invoke

from penstock.errors import Code
from penstock.scheduler.jobs.direct import DirectCounters, EndedJob
from penstock.scheduler.jobs.types import Timing
from penstock.scheduler.observe.usage import first_usage_of, usage_of

TIMING = Timing(1_000, 8_000_000, 1_000)


async def used(probe):
    """By team, what it has had."""
    return {team: had for (team, _), had in (await usage_of(probe.queue)).items()}


async def test_a_batch_is_parted_among_its_callers_by_their_rows(probe):
    await probe.enqueue("a1", "a2", caller="a", rows=1)
    await probe.enqueue("b1", caller="b", rows=2)
    await probe.enqueue("c1", rows=4)
    leases = (await probe.claim(rows=8)).leases
    assert len(leases) == 4

    await probe.settle(*leases, timing=TIMING)

    found = await used(probe)
    assert {team: (had.requests, had.rows) for team, had in found.items()} == {
        "a": (2, 2),
        "b": (1, 2),
    }
    assert {team: had.device_us for team, had in found.items()} == {"a": 2000, "b": 2000}
    assert found["b"].size == len("input of b1") + len("input of b1!")


async def test_a_lost_answer_counts_nothing_twice(probe):
    await probe.enqueue("a1", caller="a")
    leases = (await probe.claim(rows=8)).leases

    for _ in range(2):
        await probe.settle(*leases, timing=TIMING)

    assert (await used(probe))["a"].requests == 1


async def test_failures_are_counted_apart(probe):
    await probe.enqueue("a1", caller="a")

    await probe.settle(*(await probe.claim(rows=8)).leases, code=Code.INTERNAL)

    assert (await used(probe))["a"][:3] == (0, 1, 0)


async def test_each_stage_counts(probe):
    await probe.enqueue("a1", caller="a")
    await probe.queue.advance(
        (lease := (await probe.claim(rows=8)).leases[0]).token,
        SECOND,
        TIMING,
        [(lease.id, b"activations")],
    )

    leases = (await probe.claim(ref=SECOND, rows=8)).leases
    await probe.settle(*leases, timing=TIMING, ref=SECOND)

    assert (await used(probe))["a"].device_us == 16_000


async def test_jobs_that_were_handed_to_a_worker_count_as_well(probe):
    counters = DirectCounters(probe.queue, FIRST, "worker-1")
    told = asyncio.Event()

    counters.add(
        4,
        TIMING,
        [
            EndedJob(Code.OK, 1, 10, 20, "a", 100),
            EndedJob(Code.INTERNAL, 1, 10, 20, "a", 100),
            EndedJob(Code.OK, 3, 10, 20),
        ],
    )
    counters.send(told.set)
    await told.wait()

    assert await used(probe) == {"a": (1, 1, 1, 100, 10, 2000)}


async def test_there_are_only_so_many_callers(probe):
    counters = DirectCounters(probe.queue, FIRST, "worker-1")
    told = asyncio.Event()

    counters.add(1, TIMING, [EndedJob(Code.OK, 1, 1, 1, f"t{at}") for at in range(1005)])
    counters.send(told.set)
    await told.wait()

    found = await used(probe)
    assert len(found) == 1001
    assert found["~others"].requests == 5


@pytest.mark.parametrize("words", [(), ("--json",)])
async def test_the_command_shows_what_there_is(probe, words, each_redis_url, monkeypatch):
    monkeypatch.setenv("PENSTOCK_REDIS", each_redis_url)
    await probe.enqueue("a1", caller="vision")
    await probe.settle(*(await probe.claim(rows=8)).leases, timing=TIMING)

    shown = await asyncio.to_thread(invoke, "keys", "usage", *words)

    assert shown.exit_code == 0, shown.output
    assert "vision" in shown.output
    assert FIRST.model in shown.output


async def test_of_very_many_the_first_are_read_and_the_others_are_counted(probe):
    await probe.enqueue("a1", caller="a")
    await probe.settle(*(await probe.claim(rows=8)).leases, timing=TIMING)
    await probe.enqueue("b1", "b2", caller="b")
    await probe.settle(*(await probe.claim(rows=8)).leases, timing=TIMING)

    everything = await first_usage_of(probe.queue, 2)

    assert everything == (await usage_of(probe.queue), 0)
    assert await first_usage_of(probe.queue, 1) == ({}, 2)
