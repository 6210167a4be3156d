"""Which jobs go to a worker together, and when."""

from collections import deque

import pytest
from support.probe import job
from support.waiting import until

from penstock.gateway.delivery.direct import batches as module
from penstock.gateway.delivery.direct.batches import DirectBatches
from penstock.gateway.delivery.direct.worker_connections import DirectJob


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Nobody runs out of patience."""
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)


class Connection:
    """A worker that has what it was handed until its test says otherwise."""

    def __init__(self, room=64):
        self.room, self.handed, self.all = room, [], []

    @property
    def is_free(self):
        return self.room > 0 and not self.handed

    def hand(self, jobs):
        self.handed = [direct.job.id for direct in jobs]
        self.all.append(self.handed)


class Asked:
    """Jobs that are added in their order, and what becomes of them."""

    def __init__(self, *connections):
        self.connections, self.queued = connections, deque()
        self.batches = DirectBatches(self._queue_up)
        self.batches.connections = list(connections)
        self._ids = iter(range(10**6))

    def _queue_up(self, jobs):
        self.queued += [direct.job.id for direct in jobs]

    def add(self, count=1, *, rows=1):
        for _ in range(count):
            one = job(f"{next(self._ids)}", rows=rows)
            self.batches.add(DirectJob(one, None, None))

    def answer(self, connection):
        connection.handed = []
        self.batches.hand_out()


async def test_a_lone_job_waits_for_nobody():
    asked = Asked(connection := Connection())
    for _ in range(3):
        asked.add()
        asked.answer(connection)

    assert connection.all == [["0"], ["1"], ["2"]]


async def test_whoever_comes_meanwhile_goes_together():
    asked = Asked(connection := Connection())
    asked.add(4)
    asked.answer(connection)

    assert connection.all == [["0"], ["1", "2", "3"]]


async def test_two_workers_share():
    asked = Asked(one := Connection(), other := Connection())
    asked.add(3)
    asked.answer(other)

    assert (one.all, other.all) == ([["0"]], [["1"], ["2"]])


async def test_a_worker_gets_what_it_has_room_for():
    asked = Asked(connection := Connection(room=4))
    asked.add(5, rows=2)
    asked.answer(connection)
    asked.answer(connection)

    assert connection.all == [["0"], ["1", "2"], ["3", "4"]]


async def test_none_is_kept_where_no_worker_takes_any():
    asked = Asked(connection := Connection())
    asked.add(3)
    connection.room = 0
    asked.answer(connection)

    assert list(asked.queued) == ["1", "2"]


async def test_a_job_can_be_taken_back():
    asked = Asked(connection := Connection())
    asked.add(3)
    assert asked.batches.remove("1")
    assert not asked.batches.remove("0")
    asked.answer(connection)

    assert connection.all == [["0"], ["2"]]


async def test_nobody_waits_long_for_a_worker_that_is_busy(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    asked = Asked(connection := Connection())
    asked.add(3)
    await until(lambda: asked.queued)

    assert list(asked.queued) == ["1", "2"]
    assert connection.all == [["0"]]
