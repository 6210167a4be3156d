import json
import math

from hypothesis import given
from hypothesis import strategies as st

from penstock.loadgen.histogram import Histogram

durations_ns = st.integers(min_value=0, max_value=2**50)
shares = st.floats(min_value=0.001, max_value=1.0)


def filled(values):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(st.lists(durations_ns, min_size=1), shares)
def test_a_quantile_is_within_one_percent_of_the_true_one(values, share):
    true = sorted(values)[max(1, math.ceil(share * len(values))) - 1]

    assert math.isclose(filled(values).quantile(share), true, rel_tol=0.01, abs_tol=0.5)


@given(st.lists(durations_ns, min_size=1))
def test_count_mean_and_extremes_are_exact(values):
    histogram = filled(values)

    assert histogram.count == len(values)
    assert histogram.mean() == sum(values) / len(values)
    assert (histogram.least, histogram.greatest) == (min(values), max(values))
    assert histogram.quantile(1.0) == max(values)


@given(st.lists(durations_ns), st.lists(durations_ns))
def test_merged_parts_equal_the_whole(some, others):
    merged = filled(some)

    merged.add(filled(others))

    assert merged.as_json() == filled(some + others).as_json()


@given(st.lists(durations_ns))
def test_a_histogram_survives_json(values):
    histogram = filled(values)

    again = Histogram.from_json(json.loads(json.dumps(histogram.as_json())))

    assert again.as_json() == histogram.as_json()


def test_an_empty_histogram_has_no_quantile():
    assert math.isnan(Histogram().quantile(0.5))
    assert math.isnan(Histogram().mean())


def test_values_beyond_all_buckets_are_kept_in_the_last():
    histogram = filled([2**70, 1])

    assert histogram.count == 2
    assert histogram.quantile(1.0) == 2**70
