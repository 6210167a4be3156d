"""Where nobody says how many rows may share a run, there are as many as pay."""

import pytest

from penstock.workers.serve.row_limit import RowLimit

EMPTY = 1e-3
"""What a batch takes without any row."""


def run(limit, row_s, batches=200, *, rows=None, room=64):
    """*batches* full ones, each taking EMPTY and *row_s* for each row; the sizes that they had."""
    sizes = []
    for _ in range(batches):
        size = rows or limit.rows
        sizes.append(size)
        limit.observe(size, EMPTY + row_s * size, lambda: 2 * limit.rows <= room)
    return sizes


def test_there_are_few_at_first():
    assert RowLimit(64).rows == 8
    assert RowLimit(4).rows == 4


def test_while_rows_are_nearly_free_there_are_more_and_more():
    limit = RowLimit(64)
    sizes = run(limit, row_s=1e-7)

    assert limit.rows == 64
    assert sizes == sorted(sizes)


def test_where_a_row_takes_as_long_in_any_batch_there_are_no_more():
    limit = RowLimit(64)
    sizes = run(limit, row_s=1e-2)

    assert limit.rows == 8
    assert set(sizes) == {8, 16}
    assert sizes.count(16) <= 10


@pytest.mark.parametrize("rows", [1, 6, 64])
def test_batches_that_are_not_full_say_nothing(rows):
    limit = RowLimit(64)
    run(limit, row_s=1e-7, rows=rows)

    assert limit.rows == 8


def test_there_are_never_more_than_there_is_memory_for():
    limit = RowLimit(64)
    sizes = run(limit, row_s=1e-7, room=16)

    assert max(sizes) == 16


def test_there_are_never_more_than_may_be():
    limit = RowLimit(24)
    sizes = run(limit, row_s=1e-7)

    assert max(sizes) == 16


def test_what_did_not_pay_is_tried_again_some_time():
    limit = RowLimit(64)
    run(limit, row_s=1e-2)
    assert limit.rows == 8

    run(limit, row_s=1e-7, batches=6000)

    assert limit.rows == 64
