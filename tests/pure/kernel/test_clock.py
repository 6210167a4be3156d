"""Deadlines are moments of a clock that is passed in."""

import math

import pytest

from penstock.clock import LONGEST_MS, Deadline, bounded_ms, bounded_ms_of_us, monotonic


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
    assert not Deadline.after(3600).passed()
    before_s = monotonic()
    assert before_s + 60 <= Deadline.after(60).at_s <= monotonic() + 60


@pytest.mark.parametrize("forever_s", [LONGEST_MS / 1000 + 1, 1e7, 1e300, math.inf])
def test_nothing_is_waited_for_longer_than_thirty_days(forever_s):
    assert Deadline.after(forever_s, Hands(5.0)).at_s == 5.0 + LONGEST_MS / 1000
    assert bounded_ms(forever_s) == LONGEST_MS < 1 << 32


def test_a_time_in_milliseconds_is_never_nothing():
    assert [bounded_ms(s) for s in (-1.0, 0.0, 0.0001, 0.25)] == [1, 1, 1, 250]


def test_microseconds_become_milliseconds_that_are_no_fewer():
    assert [bounded_ms_of_us(us) for us in (0, 1, 1000, 1001)] == [0, 1, 1, 2]
    assert bounded_ms_of_us((1 << 64) - 1) == LONGEST_MS
