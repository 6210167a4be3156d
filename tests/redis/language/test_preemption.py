"""Preemption: who makes room, and how anybody knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.probe import FIRST

from penstock.scheduler.jobs.types import Urgency
from penstock.workers.serve.language.preemption import to_preempt

urgencies = st.builds(Urgency, st.integers(0, 4), st.integers(0, 9))


@given(st.none() | urgencies, st.lists(st.none() | urgencies, max_size=6))
def test_the_last_of_the_last_level_makes_room_for_an_earlier_level_alone(waiting, held):
    number = to_preempt(waiting, held)

    there = [one for one in held if one is not None]
    if number is None:
        assert waiting is None or all(one.level <= waiting.level for one in there)
    else:
        assert held[number].level > waiting.level
        assert held[number] == max(there)


async def test_the_queue_says_what_waits_first_and_what_somebody_has(probe):
    await probe.enqueue("a", "b", priority=3)
    leases = (await probe.claim()).leases
    none = await probe.queue.urgencies(FIRST, ["a", "gone"])
    await probe.enqueue("c", priority=2)
    await probe.enqueue("d", priority=1)

    waiting, held = await probe.queue.urgencies(FIRST, ["b", "c"])

    assert len(leases) == 2
    assert (none[0], none[1][0].level, none[1][1]) == (None, 3, None)
    assert (waiting.level, held[0].level, held[1]) == (1, 3, None)
    assert waiting.deadline_ms == pytest.approx(held[0].deadline_ms, abs=60_000)
