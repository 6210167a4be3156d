import itertools
import statistics

import pytest

from penstock.errors import InvalidRequest
from penstock.loadgen.generator import Tally
from penstock.loadgen.outcome import Outcome
from penstock.loadgen.plan import Plan
from penstock.loadgen.schedule import poisson_times


def plan(**changes):
    return Plan(**({"target": "host:1", "requests": (b"a", b"", b"bcd\n")} | changes))


def gaps(times):
    return [after - before for before, after in itertools.pairwise(times)]


def test_poisson_gaps_have_the_mean_and_the_spread_of_an_exponential():
    times = list(itertools.islice(poisson_times(200.0, seed=1), 20_000))

    assert statistics.mean(gaps(times)) == pytest.approx(1 / 200, rel=0.03)
    assert statistics.stdev(gaps(times)) == pytest.approx(1 / 200, rel=0.05)
    assert min(gaps(times)) >= 0


def test_a_schedule_repeats_with_its_seed_only():
    def first(seed):
        return list(itertools.islice(poisson_times(10.0, seed), 5))

    assert first(7) == first(7)
    assert first(7) != first(8)


def test_a_plan_survives_the_way_to_its_process():
    sent = plan(concurrency=3, timeout_s=0.5, seed=4)

    assert Plan.from_bytes(sent.to_bytes()) == sent


def test_processes_share_the_callers():
    shares = plan(concurrency=8, processes=3).shares()

    assert [share.concurrency for share in shares] == [3, 3, 2]
    assert {share.processes for share in shares} == {1}


def test_processes_share_the_rate_at_times_of_their_own():
    shares = plan(rate_per_s=90.0, processes=3).shares()

    assert [share.rate_per_s for share in shares] == [30.0] * 3
    assert len({share.seed for share in shares}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"concurrency": 1, "rate_per_s": 1.0},
        {"concurrency": 1, "processes": 2},
        {"rate_per_s": 0.0},
        {"concurrency": 1, "duration_s": 0.0},
        {"concurrency": 1, "requests": ()},
    ],
)
def test_a_load_that_nobody_can_make_is_refused(changes):
    with pytest.raises(InvalidRequest):
        plan(**changes)


def test_only_the_measured_time_counts():
    outcome = Outcome(duration_s=1.0)
    far_ns = 2**60
    past = Tally(0, 1, outcome)

    past.succeeded(sent_ns=far_ns)
    past.failed(far_ns, "UNAVAILABLE", "gone")

    assert outcome.summary()["requests"] == 0
    assert outcome.latency.count == 0
    assert outcome.failed == 0


def test_merged_outcomes_add_up():
    first, second = Outcome(2.0, answered=10), Outcome(2.0, answered=6)
    first.latency.record(1_000_000)
    second.latency.record(3_000_000)
    second.errors["UNAVAILABLE"] += 2
    second.messages["UNAVAILABLE"] = "gone"

    first.add(Outcome.from_json(second.as_json()))

    assert first.throughput_per_s == 8.0
    assert first.latency_ms(1.0) == 3.0
    assert first.summary()["errors"] == {"UNAVAILABLE": 2}
    assert first.summary()["error_messages"] == {"UNAVAILABLE": "gone"}


def test_nothing_measured_has_no_latencies():
    assert Outcome(1.0).summary()["latency_ms"] is None
