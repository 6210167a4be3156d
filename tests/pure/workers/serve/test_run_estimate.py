"""What is expected of batches, and which of them may run on the event loop."""

import numpy as np
import pytest
from support.jobs import work

from penstock.workers.serve.run_estimate import RunEstimate

QUICK_S = 0.0001


def ask(*shape):
    return work({"x": np.zeros(shape, np.float32)})


def after(estimate, *batches, took_s=QUICK_S):
    for batch in batches:
        rows = sum(one.rows for one in batch)
        estimate.observe(batch, rows, estimate.size_of(batch, rows), took_s)
    return estimate


def is_short(estimate, *batch):
    rows = sum(one.rows for one in batch)
    return estimate.is_short(batch, estimate.size_of(batch, rows))


def test_a_request_of_unusual_size_is_not_expected_to_be_short():
    """It is one row, as the quick ones were."""
    estimate = after(RunEstimate(inline=True, fixed=False), *[[ask(1, 4)]] * 100)

    assert is_short(estimate, ask(1, 4))
    assert not is_short(estimate, ask(1, 4_000_000))
    assert estimate.expected_s(16_000_000) == pytest.approx(QUICK_S * 1e6)
    small, large = ask(1, 5), ask(1, 4_000_000)
    assert estimate.without_long([small, large], 1.0) == ([small], [large])


def test_where_dims_are_free_only_what_was_run_before_is_known_to_be_short():
    """Work may grow with the square of a length, or more."""
    estimate = after(RunEstimate(inline=True, fixed=False), [ask(1, 8)], [ask(1, 9)])

    assert is_short(estimate, ask(1, 9))
    assert not is_short(estimate, ask(1, 10))
    assert not is_short(estimate, ask(1, 9), ask(1, 9))


def test_a_shape_that_took_long_when_it_was_last_run_is_not_short():
    estimate = after(RunEstimate(inline=True, fixed=False), [ask(1, 8)])
    after(estimate, [ask(1, 8)], took_s=20.0)

    assert not is_short(estimate, ask(1, 8))


def test_where_shapes_are_fixed_any_number_of_rows_is_estimated():
    estimate = after(RunEstimate(inline=True, fixed=True), [ask(1, 8)])

    assert is_short(estimate, ask(4, 8), ask(2, 8))
    assert not is_short(estimate, ask(60, 8))


def test_nothing_is_short_before_it_is_known_nor_on_a_shard_that_stays_off_the_loop():
    assert not is_short(RunEstimate(inline=True, fixed=True), ask(1, 8))
    off = after(RunEstimate(inline=False, fixed=True), [ask(1, 8)])
    assert not is_short(off, ask(1, 8))


def test_it_forgets_the_oldest_of_many_shapes():
    estimate = RunEstimate(inline=True, fixed=False)
    after(estimate, *([ask(1, width)] for width in range(1, 1030)))

    assert not is_short(estimate, ask(1, 1))
    assert is_short(estimate, ask(1, 1029))


def test_room_is_told_in_rows_like_the_latest():
    estimate = RunEstimate(inline=True, fixed=True)
    assert estimate.rows_within(1.0) == 0
    after(estimate, [ask(2, 8)], took_s=0.25)

    assert estimate.rows_within(1.0) == 8


class TestNextClaim:
    @staticmethod
    def estimate(*measured, lead_s=0.0):
        """After (size, seconds) of batches."""
        found = RunEstimate(inline=False, fixed=True, lead_s=lead_s)
        for size, took_s in measured:
            found.observe((), 1, size, took_s)
        return found

    def test_nothing_is_expected_before_the_first_batch(self):
        assert self.estimate().claim_after_s(8) is None

    def test_the_next_batch_is_claimed_just_before_this_one_ends(self):
        estimate = self.estimate((4, 2.0), lead_s=0.25)

        assert estimate.claim_after_s(8) == pytest.approx(4.0 - 0.25)
        assert estimate.claim_after_s(1) == pytest.approx(0.5 - 0.25)

    def test_short_batches_are_not_worth_it(self):
        estimate = self.estimate((4, 1.0), lead_s=0.25)

        assert estimate.claim_after_s(1) is None

    def test_a_fifth_of_a_slower_batch_is_believed_and_half_of_a_faster_one(self):
        slower = self.estimate((1, 1.0), (2, 4.0))
        faster = self.estimate((1, 2.0), (2, 2.0))

        assert slower.claim_after_s(1) == pytest.approx(1.2)
        assert faster.claim_after_s(1) == pytest.approx(1.5)

    def test_a_batch_without_bytes_counts_as_one(self):
        estimate = self.estimate((0, 1.0))

        assert estimate.claim_after_s(2) == pytest.approx(2.0)
