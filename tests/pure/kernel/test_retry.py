"""What fails comes again later and later, never in step, and never without end."""

from collections import Counter

import pytest

from penstock.client.failures import Failure
from penstock.client.retry import Attempts, RetryPolicy
from penstock.clock import Deadline
from penstock.errors import Code, PenstockError
from penstock.retry import Backoff, Pushback, RetryBudget, scattered_ms

BUSY = Failure(Code.UNAVAILABLE, "busy")
COME_BACK = Failure(Code.UNAVAILABLE, "draining", 0)
LAST, FIRST, MIDDLE = (lambda: 1.0), (lambda: 0.0), (lambda: 0.5)


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def attempts(policy=None, *, budget=None, seconds=3600.0, clock=None, **options):
    clock = clock or Hands()
    policy = policy or RetryPolicy(fraction=MIDDLE)
    deadline = Deadline.after(seconds, clock)
    return Attempts(policy, budget or RetryBudget(), deadline, clock=clock, **options)


def delays(failure, made, clock=None):
    """All delays until it is given up, and the words it is given up with."""
    found = []
    while True:
        try:
            found.append(made.delay_s(failure))
        except PenstockError as ended:
            return found, str(ended)
        if clock is not None:
            clock.now_s += found[-1]


class TestBackoff:
    def test_delays_double_up_to_their_bound(self):
        backoff = Backoff(0.1, 1.0, LAST)

        assert [backoff.delay_s(n) for n in range(1, 7)] == pytest.approx(
            [0.1, 0.2, 0.4, 0.8, 1, 1]
        )
        assert backoff.delay_s(100_000) == 1.0

    def test_they_are_anything_up_to_it(self):
        assert Backoff(0.1, 1.0, FIRST).delay_s(9) == 0
        assert len({Backoff(0.1, 1.0).delay_s(9) for _ in range(64)}) > 32


class TestAttempts:
    def test_there_are_as_many_as_the_policy_says_and_the_error_tells(self):
        found, told = delays(BUSY, attempts(RetryPolicy(attempts=4, fraction=LAST)))

        assert found == pytest.approx([0.1, 0.2, 0.4])
        assert told == "busy (4 attempts, which are as many as the client's retry policy makes)"

    def test_those_that_the_server_asked_for_count_as_well(self):
        found, told = delays(COME_BACK, attempts(RetryPolicy(attempts=4, calls=6, fraction=LAST)))

        # The first may find another gateway at once; all of them are not asked in a circle.
        assert found == pytest.approx([0.01, 0.2, 0.4, 0.8, 1.6])
        assert told.startswith("draining (6 attempts, ")

    def test_the_servers_word_is_the_least_that_is_waited(self):
        failure = Failure(Code.UNAVAILABLE, "full", 300)

        found, _ = delays(failure, attempts(RetryPolicy(calls=5)))

        assert min(found) >= 0.3

    def test_a_minute_has_few_of_them_whatever_the_server_asks_for(self):
        clock = Hands()

        found, told = delays(COME_BACK, attempts(seconds=60, clock=clock), clock)

        assert len(found) < 40
        assert "since the next one would come after the deadline" in told

    def test_a_first_failure_keeps_its_own_words(self):
        assert delays(Failure(Code.UNAVAILABLE, "never", -1), attempts()) == ([], "never")
        assert delays(Failure(Code.NOT_FOUND, "no"), attempts()) == ([], "no")
        assert delays(BUSY, attempts(once=True)) == ([], "busy")


class TestBudget:
    def test_whoever_fails_often_comes_again_as_seldom_as_may_be(self):
        budget = RetryBudget(tokens=10, ratio=0.5)
        policy = RetryPolicy(first_delay_s=0.1, longest_delay_s=8.0, fraction=FIRST)
        for _ in range(4):
            assert attempts(policy, budget=budget).delay_s(BUSY) == 0

        assert attempts(policy, budget=budget).delay_s(BUSY) == 4.0

    def test_answers_fill_it_again(self):
        budget = RetryBudget(tokens=10, ratio=0.5)
        for _ in range(100):
            budget.failed()
        assert budget.spent
        for _ in range(11):
            budget.succeeded()

        assert not budget.spent


class TestPushback:
    def test_it_grows_while_refusing_goes_on_and_is_short_again_after_a_calm(self):
        clock = Hands()
        pushback = Pushback(100, 1000, clock)
        told = []
        for _ in range(13):
            told.append(pushback.next_ms())
            clock.now_s += 0.5
        clock.now_s += 3

        assert told == [100, 100, 200, 200, 400, 400, 800, 800, *[1000] * 5]
        assert pushback.next_ms() == 100

    def test_not_all_are_told_the_same(self):
        told = {scattered_ms(1000) for _ in range(64)}

        assert len(told) > 32
        assert all(1000 <= one <= 1500 for one in told)
        assert scattered_ms(0) == 0


def test_many_callers_that_fail_together_do_not_come_back_together():
    """However fine the moments are cut, no crowd is in one of them."""
    times = []
    for _ in range(1000):
        clock = Hands()
        made = attempts(RetryPolicy(), clock=clock, budget=RetryBudget(10**6))
        for _ in range(6):
            clock.now_s += made.delay_s(BUSY)
        times.append(clock.now_s)
    crowds = Counter(int(time_s * 20) for time_s in times)

    assert max(crowds.values()) < 100
