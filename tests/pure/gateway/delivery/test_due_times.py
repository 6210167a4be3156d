"""Which requests are looked at, and when."""

import pytest
from support.probe import UNLIMITED, job

from penstock.scheduler.requests.pending import STEP_S, DueTimes
from penstock.scheduler.requests.waiting import Pending


def waiting(id_):
    return Pending(job(id_), UNLIMITED, 0.0, 0.0, None, None)


@pytest.fixture
def due():
    return DueTimes()


def ids(taken):
    return [pending.job.id for pending in taken]


def test_each_is_looked_at_once_when_its_step_has_come(due):
    due.put(waiting("later"), 2 * STEP_S)
    due.put(waiting("soon"), STEP_S)

    assert ids(due.take(0.9 * STEP_S)) == []
    assert ids(due.take(STEP_S)) == ["soon"]
    assert ids(due.take(9 * STEP_S)) == ["later"]
    assert ids(due.take(9 * STEP_S)) == []


def test_what_was_due_before_comes_first(due):
    due.put(waiting("second"), 5 * STEP_S)
    due.put(waiting("first"), STEP_S)

    assert ids(due.take(9 * STEP_S)) == ["first", "second"]


def test_one_that_has_ended_leaves_nothing_behind(due):
    gone, stays = waiting("gone"), waiting("stays")
    due.put(gone, STEP_S)
    due.put(stays, STEP_S)
    due.remove(gone)

    assert ids(due.take(STEP_S)) == ["stays"]
    due.remove(stays)
    due.put(gone, STEP_S)
    due.remove(gone)
    assert not due._steps
