"""When a request would be answered, and which are refused for it."""

import pytest

from penstock.errors import Code, Overloaded
from penstock.gateway.limits import admission
from penstock.gateway.limits.forecast import (
    FRESH_S,
    Caution,
    Forecast,
    QueueSample,
    Speed,
    speed_of,
)
from penstock.scheduler.observe.queue_samples import MARKS, Waiting, score_of

NOW_MS = 1_700_000_000_000
ONE_BY_ONE = Speed(jobs_per_s=100.0, batch_s=0.01)


def waiting(jobs, first_s=0.0, last_s=1.0, priority=0):
    """A queue whose deadlines are evenly spread between two times from now."""
    count = min(jobs, MARKS)
    steps = [first_s + (last_s - first_s) * i / max(1, count - 1) for i in range(count)]
    marks = tuple(score_of(priority, NOW_MS + 1000 * step) for step in steps)
    return Waiting(NOW_MS, jobs, marks, 1.0)


def forecast(*stages, gateways=1):
    return Forecast([QueueSample(one, ONE_BY_ONE) for one in stages], 0.0, gateways, 1.1)


def after_s(one, remaining_s, now_s=0.0, priority=0):
    return one.answered_after_s(one.score(priority, remaining_s, now_s), now_s)


class TestForecast:
    def test_it_takes_as_long_as_what_is_before_it(self):
        """A hundred jobs in a second, the batch that runs, the request's own, and a tenth."""
        assert after_s(forecast(waiting(200)), 60.0) == pytest.approx(1.1 * (2.0 + 0.02))

    def test_only_more_urgent_jobs_are_before_it(self):
        one = forecast(waiting(1601, first_s=10.0, last_s=20.0))

        assert after_s(one, 5.0) == 0
        assert after_s(one, 15.1) == pytest.approx(1.1 * 8.0, rel=0.1)
        assert after_s(one, 30.0) > 1.1 * 16

    def test_a_level_is_before_any_deadline(self):
        one = forecast(waiting(200, priority=2))

        assert after_s(one, 60.0, priority=1) == 0
        assert after_s(one, 0.001, priority=3) > 2

    def test_what_has_been_worked_off_since_is_before_it_no_more(self):
        one = forecast(waiting(200))

        assert after_s(one, 60.0, now_s=0.5) == pytest.approx(1.1 * (1.5 + 0.02))

    def test_what_becomes_free_is_shared_with_the_other_gateways(self):
        one = forecast(waiting(200), gateways=5)

        assert after_s(one, 60.0, now_s=0.5) == pytest.approx(1.1 * (1.9 + 0.02))

    def test_requests_sent_since_are_before_those_that_are_less_urgent(self):
        one = forecast(waiting(200))
        before_s = after_s(one, 60.0)
        for _ in range(50):
            one.enter(one.score(0, 30.0, 0.0))

        assert after_s(one, 20.0) == pytest.approx(before_s)
        assert after_s(one, 60.0) == pytest.approx(before_s + 1.1 * 0.5)

    def test_the_slowest_stage_counts(self):
        slow = QueueSample(waiting(50), Speed(jobs_per_s=10.0, batch_s=0.1))
        one = Forecast([QueueSample(waiting(200), ONE_BY_ONE), None, slow], 0.0, safety=1.1)

        assert after_s(one, 60.0) == pytest.approx(1.1 * (5.0 + 0.2))

    def test_a_queue_that_was_read_too_long_ago_says_nothing(self):
        assert after_s(forecast(waiting(10_000)), 60.0, now_s=FRESH_S + 0.001) == 0

    def test_one_waiting_job_is_a_queue(self):
        one = forecast(waiting(1, last_s=0.0))

        assert after_s(one, 60.0) == pytest.approx(1.1 * 0.03)
        assert after_s(one, -1.0) == 0


class TestCaution:
    def test_late_requests_raise_it_and_time_lets_it_fall(self):
        caution = Caution()
        before, raised = caution.safety(0, 10.0), caution.safety(1, 11.0)
        later, much_later = caution.safety(0, 14.0), caution.safety(0, 500.0)

        assert before == much_later == Caution.LEAST
        assert before < later < raised

    def test_a_crowd_of_late_requests_counts_once(self):
        caution = Caution()
        once = caution.safety(50, 10.0)

        assert all(caution.safety(50, 10.0 + place / 100) <= once for place in range(40))
        assert caution.safety(1, 10.6) > once

    def test_it_has_an_end(self):
        caution = Caution()

        assert max(caution.safety(9, float(second)) for second in range(60)) == Caution.MOST


class TestSpeed:
    def test_batches_of_all_workers_together(self):
        speed = speed_of([{8: 0.08}, {8: 0.04}], most_rows=8, rows=2.0)

        assert speed == Speed(jobs_per_s=4 / 0.08 + 4 / 0.04, batch_s=0.04)

    def test_nothing_is_known_while_no_worker_is_measured(self):
        assert speed_of([], 8, 1.0) is None
        assert speed_of([{}, {}], 8, 1.0) is None

    def test_an_unmeasured_worker_is_taken_for_the_fastest(self):
        assert speed_of([{8: 0.08}, {8: 0.04}, {}], 8, 8.0) == Speed(12.5 + 25 + 25, 0.04)

    def test_a_larger_batch_than_any_so_far_is_taken_to_cost_no_more(self):
        """Who has only run single rows may yet do thirty-two in the same time."""
        assert speed_of([{1: 0.02}], 32, 1.0) == Speed(32 / 0.02, 0.02)

    def test_jobs_that_do_not_share_batches_take_what_their_rows_take(self):
        assert speed_of([{1: 0.01, 4: 0.04, 16: 0.2}], 0, 5.0) == Speed(1 / 0.04, 0.04)
        assert speed_of([{4: 0.04}], 0, 1.0) == Speed(1 / 0.04, 0.04)


class TestJoining:
    def test_who_can_be_answered_in_time_joins_the_queue(self):
        one = forecast(waiting(200))
        for _ in range(10):
            admission.join(one, "r", 0, 3.0, 0.0)

        assert after_s(one, 60.0) == pytest.approx(1.1 * (2.1 + 0.02))

    def test_who_cannot_is_told_why_and_when_to_come_back(self):
        one = forecast(waiting(200))
        with pytest.raises(Overloaded) as caught:
            admission.join(one, "r7", 0, 1.5, 0.0)

        assert caught.value.code == Code.RESOURCE_EXHAUSTED
        assert str(caught.value) == (
            "[request id: r7] the queue is too long for the request's deadline: 200 requests "
            "before it take about 2.22 s, and it has 1.50 s; try again later, or allow more time"
        )
        assert caught.value.retry_after_ms == 722
        # It is not counted among those that wait.
        assert after_s(one, 60.0) == pytest.approx(1.1 * (2.0 + 0.02))

    @pytest.mark.parametrize(("jobs", "pushback_ms"), [(91, 100), (5000, 5000)])
    def test_the_time_to_come_back_is_neither_too_short_nor_too_long(self, jobs, pushback_ms):
        with pytest.raises(Overloaded) as caught:
            admission.join(forecast(waiting(jobs, last_s=0.5)), "", 0, 1.0, 0.0)

        assert caught.value.retry_after_ms == pushback_ms
        assert str(caught.value).startswith("[request id: <id_unknown>] ")
