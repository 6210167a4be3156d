"""Whether a gateway's event loop has time to sleep."""

import threading

import pytest

from penstock.gateway.delivery.direct.busyness import Busyness, sleeps_of_this_thread


class Sleeps:
    def __init__(self):
        self.count = 1000

    def __call__(self):
        return self.count


@pytest.mark.parametrize(
    ("each", "busy"), [(3, False), (1, False), (0.5, False), (0.45, True), (0, True)]
)
def test_a_loop_that_seldom_sleeps_is_busy(each, busy):
    sleeps = Sleeps()
    one = Busyness(sleeps)
    for place in range(320):
        sleeps.count = 1000 + int(place * each)
        one.count()

    assert one.busy is busy


def test_it_is_looked_at_anew():
    sleeps = Sleeps()
    one = Busyness(sleeps)
    for _ in range(100):
        one.count()
    assert one.busy
    for _ in range(100):
        sleeps.count += 3
        one.count()
    assert not one.busy


def test_where_nothing_is_counted_nobody_is_busy():
    one = Busyness(lambda: 0)
    for _ in range(100):
        one.count()

    assert not one.busy


def test_linux_counts_the_sleeps_of_a_thread():
    before, waits = sleeps_of_this_thread(), 0
    # Where others have the cores, a wait may be over before it has begun, and is no sleep.
    while sleeps_of_this_thread() < before + 20 and waits < 2000:
        threading.Event().wait(0.001)
        waits += 1

    assert sleeps_of_this_thread() >= before + 20
