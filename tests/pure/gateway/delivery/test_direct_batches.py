"""Which jobs go to a worker together, and when."""

import asyncio
from collections import deque

import pytest
from support.probe import job
from support.waiting import until

from penstock.gateway.delivery.direct import batches as module
from penstock.gateway.delivery.direct.batches import Lots
from penstock.gateway.delivery.direct.worker_connections import Direct


class Lane:
    """A worker that has what it was handed until its test says otherwise."""

    def __init__(self, room=64):
        self.room, self.handed, self.all = room, [], []

    @property
    def is_free(self):
        return self.room > 0 and not self.handed

    def hand(self, jobs):
        self.handed = [direct.job.id for direct in jobs]
        self.all.append(self.handed)


class Busyness:
    def __init__(self):
        self.busy = False

    def count(self):
        pass


class Asked:
    """Jobs that are added in their order, and what becomes of them."""

    def __init__(self, *lanes):
        self.lanes, self.busyness, self.queued = lanes, Busyness(), deque()
        self.lots = Lots(self._queue_up, self.busyness)
        self.lots.lanes = list(lanes)
        self._ids = iter(range(10**6))

    def _queue_up(self, jobs):
        self.queued += [direct.job.id for direct in jobs]

    def add(self, count=1, *, crowd=None, rows=1):
        for place in range(count):
            one = job(f"{next(self._ids)}", rows=rows)
            self.lots.add(Direct(one, None, None), crowd or place + 1)

    def answer(self, lane):
        lane.handed = []
        self.lots.hand_out()


@pytest.fixture
def slow(monkeypatch):
    """Nobody runs out of patience."""
    monkeypatch.setattr(module, "GATHERING_S", 30.0)
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)


@pytest.mark.usefixtures("slow")
class TestFew:
    async def test_a_lone_job_waits_for_nobody(self):
        asked = Asked(lane := Lane())
        for _ in range(3):
            asked.add()
            asked.answer(lane)

        assert lane.all == [["0"], ["1"], ["2"]]

    async def test_whoever_comes_meanwhile_goes_together(self):
        asked = Asked(lane := Lane())
        asked.add(4)
        asked.answer(lane)

        assert lane.all == [["0"], ["1", "2", "3"]]

    async def test_two_workers_share(self):
        asked = Asked(one := Lane(), other := Lane())
        asked.add(3)
        asked.answer(other)

        assert (one.all, other.all) == ([["0"]], [["1"], ["2"]])

    async def test_a_worker_gets_what_it_has_room_for(self):
        asked = Asked(lane := Lane(room=4))
        asked.add(5, rows=2)
        asked.answer(lane)
        asked.answer(lane)

        assert lane.all == [["0"], ["1", "2"], ["3", "4"]]

    async def test_none_is_kept_where_no_worker_takes_any(self):
        asked = Asked(lane := Lane())
        asked.add(3)
        lane.room = 0
        asked.answer(lane)

        assert list(asked.queued) == ["1", "2"]

    async def test_a_job_can_be_taken_back(self):
        asked = Asked(lane := Lane())
        asked.add(3)
        assert asked.lots.remove("1")
        assert not asked.lots.remove("0")
        asked.answer(lane)

        assert lane.all == [["0"], ["2"]]


@pytest.mark.usefixtures("slow")
class TestMany:
    async def test_a_busy_gateway_waits_for_most_of_those_who_may_come(self):
        asked = Asked(lane := Lane())
        asked.busyness.busy = True
        asked.add(crowd=4)
        asked.add(crowd=1)
        assert lane.all == []
        asked.add(crowd=2)

        assert lane.all == [["0", "1", "2"]]

    async def test_eight_are_enough(self):
        asked = Asked(lane := Lane())
        asked.busyness.busy = True
        asked.add(7, crowd=64)
        assert lane.all == []
        asked.add(crowd=64)

        assert [len(lot) for lot in lane.all] == [8]

    async def test_one_that_was_never_more_waits_for_nobody(self):
        asked = Asked(lane := Lane())
        asked.busyness.busy = True
        asked.add(crowd=1)

        assert lane.all == [["0"]]

    async def test_those_who_are_gone_are_soon_forgotten(self):
        asked = Asked(lane := Lane())
        asked.busyness.busy = True
        asked.add(8, crowd=64)
        asked.answer(lane)
        await asyncio.sleep(0.5)  # ten times the half-life
        asked.add(crowd=1)

        assert [len(lot) for lot in lane.all] == [8, 1]


class TestPatience:
    async def test_a_lot_waits_no_longer_than_it_may(self):
        asked = Asked(lane := Lane())
        asked.busyness.busy = True
        asked.add(2, crowd=64)
        await until(lambda: lane.all)

        assert lane.all == [["0", "1"]]
        assert not asked.queued

    async def test_nobody_waits_long_for_a_worker_that_is_busy(self):
        asked = Asked(lane := Lane())
        asked.add(3)
        await until(lambda: asked.queued)

        assert list(asked.queued) == ["1", "2"]
        assert lane.all == [["0"]]
