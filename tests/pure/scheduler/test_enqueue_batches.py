"""Jobs travel together when there are many, and nobody waits when there are few."""

import asyncio

import pytest

from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.enqueue_batches import (
    BATCH_BYTES,
    PATIENCE_S,
    SHARE,
    BatchKey,
    EnqueueBatcher,
    put_apart,
)
from penstock.scheduler.jobs.types import NewJob

FIRST, OTHER = StageRef("m", 1, 0), StageRef("m", 2, 0)


def job(id_, ref=FIRST, payload=b"x"):
    return NewJob(id_, "gateway", ref, 0, 1, 1000, 0, payload)


class Calls:
    """What left, call by call."""

    def __init__(self):
        self.ids = []
        self.gathering = EnqueueBatcher(self._send)

    def _send(self, line, entries):
        assert {one.ref for one, _ in entries} == {line.ref}
        self.ids.append([one.id for one, _ in entries])

    def add(self, *jobs, in_flight):
        for one in jobs:
            self.gathering.add(one, QueueLimits(), lambda _: None, in_flight)


@pytest.fixture
def calls():
    return Calls()


async def turn():
    """One turn of the event loop."""
    await asyncio.sleep(0)


async def test_whoever_is_alone_leaves_at_once(calls):
    calls.add(job("a"), in_flight=1)

    assert calls.ids == [["a"]]


async def test_who_was_waiting_leaves_with_who_is_alone_now(calls):
    calls.add(job("a"), in_flight=1000)
    calls.add(job("b"), in_flight=1)

    await asyncio.sleep(2 * PATIENCE_S)

    assert calls.ids == [["a", "b"]]


async def test_jobs_of_one_turn_leave_together(calls):
    calls.add(job("a"), job("b"), job("c"), in_flight=3)

    await turn()

    assert calls.ids == [["a", "b", "c"]]


async def test_a_lot_waits_for_its_share_of_the_crowd(calls):
    in_flight = 3 * SHARE
    calls.add(job("a"), job("b"), in_flight=in_flight)
    await turn()
    assert calls.ids == []

    calls.add(job("c"), in_flight=in_flight)
    await turn()

    assert calls.ids == [["a", "b", "c"]]


async def test_a_lot_leaves_after_a_while_in_any_case(calls):
    calls.add(job("a"), in_flight=1000)

    async with asyncio.timeout(1000 * PATIENCE_S):
        while not calls.ids:
            await turn()

    assert calls.ids == [["a"]]


async def test_large_payloads_do_not_wait_for_each_other(calls):
    calls.add(job("a", payload=bytes(BATCH_BYTES)), in_flight=1000)

    await turn()

    assert calls.ids == [["a"]]


async def test_each_queue_has_its_own_calls(calls):
    calls.add(job("a"), job("b", OTHER), job("c"), in_flight=3)

    await turn()

    assert sorted(calls.ids) == [["a", "c"], ["b"]]


async def test_a_job_that_is_taken_back_does_not_leave(calls):
    calls.add(job("a"), job("b"), in_flight=2)

    assert calls.gathering.remove("a")
    assert not calls.gathering.remove("unknown")
    assert len(calls.gathering) == 1
    await turn()

    assert calls.ids == [["b"]]
    assert not calls.gathering.remove("b")


async def test_a_lot_that_is_emptied_makes_no_call(calls):
    calls.add(job("a"), in_flight=2)
    calls.gathering.remove("a")

    await turn()
    calls.add(job("b"), in_flight=2)
    await turn()

    assert calls.ids == [["b"]]


def test_only_the_job_that_cannot_be_sent_is_told():
    """Those that would have travelled with it have done nothing wrong."""
    sent, told = [], []

    def send(_, entries):
        for one, _ in entries:
            if one.id == "wrong":
                raise ValueError("no room for its numbers")
        sent.extend(one.id for one, _ in entries)

    entries = [
        (job(id_), lambda error, id_=id_: told.append((id_, str(error))))
        for id_ in ("a", "wrong", "b")
    ]
    put_apart(send, BatchKey(FIRST, "gateway", QueueLimits(), ""), entries)

    assert sent == ["a", "b"]
    assert told == [("wrong", "no room for its numbers")]
