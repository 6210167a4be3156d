"""What runs next, what may be claimed next, and when."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import config

from penstock.workers.serve.batching import (
    BatchRules,
    GuaranteedTurns,
    choose_batch,
    rows_to_claim,
)


@dataclass(frozen=True)
class Staged:
    name: str
    rows: int = 1
    shape_key: str = "s"
    alone: bool = False
    waited_us: int = 0


FOUR = BatchRules(most_rows=4, together=True, enough_rows=4)


def chosen(rules, *staged):
    return "".join(one.name for one in choose_batch(staged, rules))


class TestRules:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", BatchRules(1, together=False, enough_rows=1, batch_delay_us=0)),
            ("dynamic_batching { }", BatchRules(1, together=False)),
            ("max_batch_size: 8", BatchRules(8, together=False)),
            ("max_batch_size: 8 dynamic_batching { }", BatchRules(8, True, 8, 0)),
            (
                """max_batch_size: 8 dynamic_batching {
                preferred_batch_size: [ 6, 2 ] max_queue_delay_microseconds: 500 }""",
                BatchRules(8, True, 6, 500, (2, 6)),
            ),
            (
                "max_batch_size: 4 dynamic_batching { preferred_batch_size: 6 }",
                BatchRules(4, True, 4, 0, (4,)),
            ),
        ],
    )
    def test_they_are_what_the_configuration_asks_for(self, text, expected):
        assert BatchRules.of(config(text)) == expected


class TestChoosing:
    def test_nothing_staged_is_no_batch(self):
        assert choose_batch([], FOUR) == []

    def test_requests_join_in_their_order_up_to_the_limit(self):
        assert chosen(FOUR, *map(Staged, "abcdef")) == "abcd"

    def test_one_that_does_not_fit_is_passed_over(self):
        assert chosen(FOUR, Staged("a", 2), Staged("b", 3), Staged("c"), Staged("d")) == "acd"

    def test_other_shapes_are_never_mixed(self):
        other = Staged("b", shape_key="t")

        assert chosen(FOUR, Staged("a"), other, Staged("c")) == "ac"
        assert chosen(FOUR, other, Staged("c")) == "b"

    def test_the_most_urgent_runs_however_large_it_is(self):
        assert chosen(FOUR, Staged("a", 9), Staged("b")) == "a"

    def test_one_that_must_run_alone_does(self):
        suspect = Staged("a", alone=True)

        assert chosen(FOUR, suspect, Staged("b")) == "a"
        assert chosen(FOUR, Staged("b"), suspect, Staged("c")) == "bc"

    def test_a_model_that_does_not_batch_runs_one_request(self):
        assert chosen(BatchRules(most_rows=8), Staged("a", 2), Staged("b")) == "a"

    @pytest.mark.parametrize(
        ("waiting", "expected"),
        [("a", "a"), ("abc", "ab"), ("abcde", "ab"), ("abcdef", "abcdef"), ("abcdefg", "abcdef")],
    )
    def test_a_batch_has_the_largest_preferred_size_that_there_are_rows_for(
        self, waiting, expected
    ):
        rules = BatchRules(8, together=True, enough_rows=6, batch_delay_us=500, preferred=(2, 6))

        assert chosen(rules, *map(Staged, waiting)) == expected

    def test_once_one_has_waited_long_enough_all_run(self):
        rules = BatchRules(8, together=True, enough_rows=6, batch_delay_us=500, preferred=(2, 6))

        assert chosen(rules, Staged("a"), Staged("b"), Staged("c", waited_us=500)) == "abc"

    @given(
        st.lists(
            st.builds(Staged, st.just("x"), st.integers(1, 6), st.sampled_from("st")), min_size=1
        ),
        st.builds(BatchRules, st.integers(1, 8), st.booleans()),
    )
    def test_a_batch_fits_and_holds_the_most_urgent(self, staged, rules):
        batch = choose_batch(staged, rules)

        assert batch[0] is staged[0]
        assert len(batch) == 1 or sum(one.rows for one in batch) <= rules.most_rows
        assert len({one.shape_key for one in batch}) == 1


class TestClaiming:
    @pytest.mark.parametrize(("staged", "room"), [(0, 4), (1, 3), (4, 0), (7, 0)])
    def test_one_batch_is_staged_ahead_and_no_more(self, staged, room):
        assert rows_to_claim(staged, FOUR) == room

    @pytest.mark.parametrize(("staged", "room"), [(0, 1), (1, 0), (8, 0)])
    def test_without_batching_one_request_is_staged_ahead(self, staged, room):
        assert rows_to_claim(staged, BatchRules(most_rows=8)) == room


class TestTurns:
    def test_one_in_so_many_claims_that_gave_something_is_a_guaranteed_turn(self):
        turns, found = GuaranteedTurns(), []
        for _ in range(4 * GuaranteedTurns.SHARE):
            found.append(turns.next())
            turns.took()

        assert [turn for turn in found if turn] == [1, 2, 3]
        assert [place for place, turn in enumerate(found) if turn] == [
            GuaranteedTurns.SHARE * turn for turn in (1, 2, 3)
        ]

    def test_a_turn_is_kept_until_a_claim_gives_something(self):
        turns = GuaranteedTurns()
        for _ in range(GuaranteedTurns.SHARE):
            turns.took()

        assert [turns.next() for _ in range(3)] == [1, 1, 1]
