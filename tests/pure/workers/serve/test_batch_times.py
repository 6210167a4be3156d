"""How long batches take, as a worker measures it."""

import pytest

from penstock.workers.serve.batch_times import BatchTimes


def measured(*batches, warm=True):
    """Batch times after (rows, seconds) one after the other, the first ones left out."""
    times, now_s = BatchTimes(), 100.0
    times.claimed(now_s)
    for rows in {rows for rows, _ in batches} if warm else ():
        for _ in range(3):
            now_s += 5.0
            times.ended(rows, now_s)
    for rows, seconds in batches:
        now_s += seconds
        times.ended(rows, now_s)
    return times


def test_a_batch_takes_from_the_last_ones_end_to_its_own():
    assert measured((4, 0.25), (8, 0.5)).take() == pytest.approx({4: 0.25, 8: 0.5})


def test_the_first_batches_of_a_size_do_not_count():
    cold = measured((4, 9.0), (4, 5.0), (4, 2.0), warm=False)

    assert not cold.fresh
    assert cold.take() == {}


def test_sleep_does_not_count():
    times = measured((1, 0.5))
    times.claimed(1000.0)
    times.ended(1, 1000.5)

    assert times.take() == pytest.approx({1: 0.5})


def test_what_got_faster_is_believed_sooner_than_what_got_slower():
    faster = measured((1, 1.0), (1, 0.5)).take()[1]
    slower = measured((1, 1.0), (1, 1.5)).take()[1]

    assert 1.0 - faster > slower - 1.0 > 0


def test_one_outlier_is_forgotten():
    assert measured((1, 30.0), *[(1, 0.1)] * 10).take()[1] < 0.2


def test_it_is_fresh_until_it_was_taken():
    times = measured((1, 0.5))

    assert (times.fresh, bool(times.take()), times.fresh) == (True, True, False)


def test_of_many_sizes_the_largest_are_told():
    sizes = measured(*((rows, 0.1) for rows in range(1, 101))).take()

    assert sorted(sizes) == list(range(37, 101))
