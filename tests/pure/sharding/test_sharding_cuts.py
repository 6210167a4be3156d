"""Cuts are balanced first, leave no stage without weights second, and are cheap third."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.sharding.cuts import Step, choose_cuts
from penstock.sharding.errors import CannotShard, NothingToRun, TooManyStages

WEIGHTS = {"a": 1, "b": 2, "c": 5, "d": 8}
STEPS = st.lists(
    st.builds(
        Step,
        st.frozensets(st.sampled_from(sorted(WEIGHTS)), max_size=2),
        st.none() | st.integers(0, 9),
    ),
    min_size=1,
    max_size=7,
)


def sequence(*steps):
    """``sequence(("a", 4), ("b", 1))``: the weights of each step, and the bytes after it."""
    return [Step(frozenset(weights), crossing) for weights, crossing in steps]


def stage_bytes(steps, cuts):
    bounds = pairwise([0, *cuts, len(steps)])
    held = (frozenset().union(*(step.weights for step in steps[a:b])) for a, b in bounds)
    return [sum(WEIGHTS[name] for name in names) for names in held]


def all_cuts(steps, stages):
    places = [at for at in range(1, len(steps)) if steps[at - 1].crossing_bytes is not None]
    return list(combinations(places, stages - 1))


def worth(steps, cuts):
    sizes = stage_bytes(steps, cuts)
    crossing = sum(steps[cut - 1].crossing_bytes for cut in cuts)
    return sizes.count(0), crossing, sum(size**2 for size in sizes)


@given(steps=STEPS, stages=st.integers(1, 4), tolerance=st.sampled_from([0.0, 0.1, 0.5, 2.0]))
def test_no_other_cuts_are_better(steps, stages, tolerance):
    """Against all possible cuts of short sequences."""
    possible = all_cuts(steps, stages)
    if not possible:
        with pytest.raises(TooManyStages):
            choose_cuts(steps, WEIGHTS, stages, tolerance)
        return

    cuts = choose_cuts(steps, WEIGHTS, stages, tolerance)

    limit = min(max(stage_bytes(steps, other)) for other in possible) * (1 + tolerance)
    allowed = [other for other in possible if max(stage_bytes(steps, other)) <= limit]
    assert cuts in allowed
    assert worth(steps, cuts) == min(worth(steps, other) for other in allowed)


def test_the_largest_stage_is_as_small_as_can_be():
    steps = sequence(("c", 1), ("b", 1), ("a", 1), ("d", 1))

    assert choose_cuts(steps, WEIGHTS, 2) == (3,)


def test_a_cheaper_cut_is_worth_a_little_imbalance():
    sizes = {"a": 100, "b": 5, "c": 95}
    steps = sequence(("a", 64), ("b", 4), ("c", None))

    assert choose_cuts(steps, sizes, 2) == (2,)
    assert choose_cuts(steps, sizes, 2, tolerance=0.0) == (1,)


def test_a_stage_without_weights_is_avoided_however_cheap_its_cut():
    sizes = {"a": 10, "b": 100, "c": 5}
    steps = sequence(("a", 50), ("b", 1000), ("c", 2), ("", None))

    assert choose_cuts(steps, sizes, 3) == (1, 2)


def test_a_weight_read_twice_in_one_stage_counts_once():
    sizes = {"a": 10, "b": 10}
    steps = sequence(("a", 1), ("a", 9), ("b", None))

    assert choose_cuts(steps, sizes, 2) == (2,)


def test_one_stage_has_no_cuts():
    assert choose_cuts(sequence(("a", 1), ("b", None)), WEIGHTS, 1) == ()


def test_places_that_cannot_be_cut_are_not_counted():
    steps = sequence(("a", None), ("b", 1), ("c", None), ("d", None))

    with pytest.raises(TooManyStages, match=r"into 3 stages.* 2 at most.*--stages 2 or") as caught:
        choose_cuts(steps, WEIGHTS, 3)

    assert (caught.value.stages, caught.value.possible) == (3, 2)


def test_a_model_without_a_place_to_cut_is_to_be_served_whole():
    with pytest.raises(TooManyStages, match=r"nowhere in it .* serve it whole \(--stages 1\)"):
        choose_cuts(sequence(("a", None), ("b", None)), WEIGHTS, 2)


def test_a_model_without_steps_has_nothing_to_run():
    with pytest.raises(NothingToRun, match="check that this is the right model"):
        choose_cuts([], {}, 1)


def test_less_than_one_stage_makes_no_sense():
    with pytest.raises(CannotShard, match="at least one stage, not 0"):
        choose_cuts(sequence(("a", 1)), WEIGHTS, 0)
