"""Where nobody says how many rows may share a run, there are as many as pay."""

import pytest

from penstock.workers.serve.batching import BatchRules, RowLimit

EMPTY = 1e-3
"""What a batch takes without any row."""


def limited(most, *, guessed=True):
    return RowLimit(BatchRules(most_rows=most, together=True, enough_rows=most), guessed=guessed)


def run(limit, row_s, batches=200, *, rows=None, room=64):
    """*batches* full ones, each taking EMPTY and *row_s* for each row; the sizes that they had."""
    sizes = []
    for _ in range(batches):
        size = rows or limit.rows
        sizes.append(size)
        limit.observe(size, EMPTY + row_s * size, lambda: 2 * limit.rows <= room)
    return sizes


def test_there_are_few_at_first():
    assert limited(64).rows == 8
    assert limited(4).rows == 4
    assert limited(64).rules == BatchRules(most_rows=8, together=True, enough_rows=8)


def test_what_the_owner_says_holds_from_the_beginning():
    limit = limited(64, guessed=False)
    run(limit, row_s=1e-2)

    assert limit.rules == BatchRules(most_rows=64, together=True, enough_rows=64)


def test_while_rows_are_nearly_free_there_are_more_and_more():
    limit = limited(64)
    sizes = run(limit, row_s=1e-7)

    assert limit.rows == 64
    assert sizes == sorted(sizes)


def test_where_a_row_takes_as_long_in_any_batch_there_are_no_more():
    limit = limited(64)
    sizes = run(limit, row_s=1e-2)

    assert limit.rows == 8
    assert set(sizes) == {8, 16}
    assert sizes.count(16) <= 10


@pytest.mark.parametrize("rows", [1, 6, 64])
def test_batches_that_are_not_full_say_nothing(rows):
    limit = limited(64)
    run(limit, row_s=1e-7, rows=rows)

    assert limit.rows == 8


def test_there_are_never_more_than_there_is_memory_for():
    limit = limited(64)
    sizes = run(limit, row_s=1e-7, room=16)

    assert max(sizes) == 16


def test_there_are_never_more_than_may_be():
    limit = limited(24)
    sizes = run(limit, row_s=1e-7)

    assert max(sizes) == 16


def test_what_did_not_pay_is_tried_again_some_time():
    limit = limited(64)
    run(limit, row_s=1e-2)
    assert limit.rows == 8

    run(limit, row_s=1e-7, batches=6000)

    assert limit.rows == 64
