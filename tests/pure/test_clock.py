"""Deadlines are moments of a clock that is passed in."""

import pytest

from penstock.clock import Deadline, monotonic


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self, now_s):
        self.now_s = now_s

    def __call__(self):
        return self.now_s


def test_a_deadline_comes_nearer_as_time_goes_on():
    clock = Hands(100.0)
    deadline = Deadline.after(2.5, clock)

    clock.now_s = 101.0

    assert deadline == Deadline(102.5)
    assert deadline.remaining_s(clock) == 1.5
    assert not deadline.passed(clock)


@pytest.mark.parametrize(("now_s", "left_s", "passed"), [(9.5, 0.5, False), (10, 0, True)])
def test_a_deadline_passes_when_nothing_is_left(now_s, left_s, passed):
    deadline, clock = Deadline(10.0), Hands(now_s)

    assert deadline.remaining_s(clock) == left_s
    assert deadline.passed(clock) is passed


def test_what_is_left_is_negative_afterwards():
    assert Deadline(10.0).remaining_s(Hands(12.0)) == -2.0


def test_without_a_clock_time_is_the_process_s_own():
    assert Deadline(monotonic() - 1).passed()
    assert 59 < Deadline.after(60).remaining_s() <= 60
