"""The order of a queue: levels, deadlines within them, and a share for what waits behind others."""

import time
from collections import Counter

import pytest
from support.probe import FIRST, LONG_MS
from support.waiting import until

from penstock.workers.serve.batching import GuaranteedTurns

LAST_LEVEL = 1023


def ids(claim):
    return [lease.id for lease in claim.leases]


@pytest.mark.parametrize("priority", [0, 1, 800, LAST_LEVEL])
async def test_each_millisecond_of_a_deadline_counts_at_every_level(probe, priority):
    """Earliest deadline first, however large the numbers are."""
    names = [f"{place:03d}" for place in range(40)]
    for id_ in names:
        # One by one: each has its own deadline, and a name that sorts the other way.
        await probe.enqueue(id_, priority=priority, ttl_ms=LONG_MS - 5 * int(id_))
    deadlines = {id_: int((await probe.record(id_))["deadline"]) for id_ in names}

    claim = await probe.claim(rows=40)

    # On a slow machine two may have the same millisecond, and are in the order of their names.
    assert ids(claim) == sorted(names, key=lambda id_: (deadlines[id_], id_))
    assert len(set(deadlines.values())) > 1


async def test_a_level_comes_before_any_deadline(probe):
    await probe.enqueue("last", priority=LAST_LEVEL, ttl_ms=1000)
    await probe.enqueue("second", priority=2, ttl_ms=2000)
    await probe.enqueue("first", priority=1, ttl_ms=LONG_MS)

    assert ids(await probe.claim()) == ["first", "second", "last"]


async def test_neither_an_endless_deadline_nor_an_endless_level_disturbs_the_order(probe):
    """Both end where their bits do, and stay in their place."""
    await probe.enqueue("far", priority=1, ttl_ms=10**15)
    await probe.enqueue("second level", priority=2)
    await probe.enqueue("beyond", priority=10**6, ttl_ms=5000)
    await probe.enqueue("last", priority=LAST_LEVEL, ttl_ms=4000)

    assert ids(await probe.claim()) == ["far", "second level", "last", "beyond"]


async def test_a_guaranteed_turn_begins_with_what_waits_behind(probe):
    """With the most urgent of that level; what is left of the batch goes on as always."""
    await probe.enqueue("urgent 1", "urgent 2", "urgent 3", priority=1)
    await probe.enqueue("behind, later", priority=2, ttl_ms=LONG_MS)
    await probe.enqueue("behind, sooner", priority=2, ttl_ms=LONG_MS - 1000)

    claim = await probe.claim(rows=3, guaranteed_turn=1)

    assert ids(claim) == ["behind, sooner", "behind, later", "urgent 1"]
    assert await probe.waiting() == ["urgent 2", "urgent 3"]


async def test_each_level_that_waits_behind_has_its_turn(probe):
    for level in (1, 2, 3, 9):
        await probe.enqueue(*(f"{level}.{place}" for place in range(4)), priority=level)

    turns = [ids(await probe.claim(rows=1, guaranteed_turn=turn)) for turn in range(1, 7)]

    assert Counter(id_[0] for (id_,) in turns) == {"2": 2, "3": 2, "9": 2}


async def test_a_guaranteed_turn_changes_nothing_where_nobody_waits_behind(probe):
    await probe.enqueue("b", priority=2, ttl_ms=LONG_MS)
    await probe.enqueue("a", priority=2, ttl_ms=LONG_MS - 1000)

    assert ids(await probe.claim(rows=1, guaranteed_turn=1)) == ["a"]
    assert ids(await probe.claim(rows=1, guaranteed_turn=2)) == ["b"]
    assert ids(await probe.claim(rows=1, guaranteed_turn=3)) == []


async def test_a_job_that_runs_alone_comes_before_a_guaranteed_turn(probe):
    await probe.enqueue("crashed", priority=1)
    await probe.lease("worker-1")
    await probe.queue.release_leases_of(FIRST.model, "worker-1")
    await probe.enqueue("behind", priority=2)

    claim = await probe.claim("worker-2", guaranteed_turn=1)

    assert ids(claim) == ["crashed"]


async def test_the_lowest_level_is_served_while_more_urgent_work_never_ends(probe):
    """Claims as a worker makes them, with a backlog of the first level that never shrinks."""
    await probe.enqueue(*(f"low {place}" for place in range(4)), priority=3)
    await probe.enqueue("urgent", "more urgent", priority=1)
    turns, served = GuaranteedTurns(), []
    for place in range(5 * GuaranteedTurns.SHARE):
        await probe.enqueue(f"urgent {place}", priority=1)
        claim = await probe.claim(rows=1, guaranteed_turn=turns.next())
        turns.took()
        served += ids(claim)
        await probe.settle(*claim.leases)

    low = [place for place, id_ in enumerate(served) if id_.startswith("low")]

    assert low == [GuaranteedTurns.SHARE * turn for turn in range(1, 5)]


async def test_a_delayed_job_that_runs_alone_comes_back_to_the_head(probe):
    await probe.enqueue("crashed", ttl_ms=LONG_MS)
    await probe.lease("worker-1")
    await probe.queue.release_leases_of(FIRST.model, "worker-1")
    again = await probe.lease("worker-2")
    await probe.queue.retry(FIRST.model, again.token, ["crashed"], delay_ms=1, most=3, why="busy")
    await probe.enqueue("urgent", ttl_ms=LONG_MS // 2)

    await probe.reaped(lambda reaped: reaped.retried)

    assert await probe.waiting() == ["crashed", "urgent"]


async def test_one_claim_passes_many_late_jobs(probe):
    """It looks at little more than it may take, and again as long as all of it was late."""
    await probe.enqueue(*(f"late {place}" for place in range(100)), ttl_ms=1)
    await probe.enqueue("fine")

    last_ms = int((await probe.record("late 99"))["deadline"])
    await until(lambda: time.time() * 1000 > last_ms + 2)

    claim = await probe.claim(rows=1)

    assert ids(claim) == ["fine"]
    assert await probe.waiting() == []
    assert await probe.ends() == {"expired": 100}
