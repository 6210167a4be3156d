"""Faults to plant where requests fail: what they leave behind, and when they come again."""

from chaos.planted.fault import Mutant

RETRY = "tests/pure/kernel/test_retry.py::"
ROUTER = "tests/redis/direct/test_router.py::"

FAILURES = [
    Mutant(
        "failure: a deadline is as far away as its client says",
        "src/penstock/clock.py",
        "int(min(seconds * 1000, LONGEST_MS))",
        "int(seconds * 1000)",
        "tests/pure/kernel/test_clock.py::test_nothing_is_waited_for_longer_than_thirty_days",
    ),
    Mutant(
        "failure: a job that cannot be sent is waited for",
        "scheduler/requests/submission.py",
        "            on_outcome(error)\n\n    def end",
        "            raise\n\n    def end",
        "tests/redis/delivery/test_pending.py::test_a_request_that_cannot_be_sent_again_fails_alone",
    ),
    Mutant(
        "failure: a reply that is late is a reply that was lost",
        "scheduler/requests/submission.py",
        "if not self._all_read(pending.job, pending.ended_s):",
        "if False:",
        "tests/redis/delivery/test_pending.py::test_a_reply_that_is_late_is_waited_for",
    ),
    Mutant(
        "failure: a worker has jobs that it could not take",
        "gateway/delivery/direct/worker_connections.py",
        "        self._transport.writelines(packed_jobs(taken))\n        self._handed |= handed\n",
        "        self._handed |= handed\n        self._transport.writelines(packed_jobs(taken))\n",
        ROUTER + "test_a_job_that_cannot_be_sent_leaves_nothing_behind",
    ),
    Mutant(
        "failure: an error keeps the frames that it came through",
        "src/penstock/errors.py",
        "    error.__traceback__ = None\n",
        "",
        "tests/pure/workers/run/test_execution.py::test_a_batch_that_failed_is_held_by_nobody",
    ),
    Mutant(
        "failure: a shared reply's job keeps its request",
        "gateway/replies/shared.py",
        "and the payload.\n        self._on_outcome = _ignored\n",
        "and the payload.\n",
        "tests/redis/delivery/test_failed_requests.py",
    ),
    Mutant(
        "failure: a lost load request is never requested again",
        "gateway/models/on_demand.py",
        "if before == replaced and monotonic() < until_s:",
        "if before == replaced:",
        "tests/redis/registry/test_on_demand.py::test_a_load_request_that_was_forgotten_is_requested_again",
    ),
    Mutant(
        "failure: who is in order waits for ever",
        "gateway/delivery/reply_order.py",
        "left_s = None if deadline is None else max(0.0, deadline.remaining_s())",
        "left_s = None",
        "tests/pure/gateway/delivery/test_reply_order.py::test_nobody_waits_for_those_before_beyond_its_own_deadline",
    ),
    Mutant(
        "retries: what the server asked for is no attempt",
        "src/penstock/client/retry.py",
        "if self._made >= max(policy.calls, policy.attempts):",
        "if False:",
        RETRY + "TestAttempts::test_those_that_the_server_asked_for_count_as_well",
    ),
    Mutant(
        "retries: all come back together",
        "src/penstock/retry.py",
        "return self.bound_s(attempt) * self.fraction()",
        "return self.bound_s(attempt)",
        RETRY + "test_many_callers_that_fail_together_do_not_come_back_together",
    ),
    Mutant(
        "retries: a spent budget slows nobody down",
        "src/penstock/client/retry.py",
        "if self._budget.spent:",
        "if False:",
        RETRY + "TestBudget::test_whoever_fails_often_comes_again_as_seldom_as_may_be",
    ),
    Mutant(
        "retries: a silent server gets everything again at once",
        "scheduler/store/link.py",
        "while unsent and len(unanswered) < self._window:",
        "while unsent:",
        "tests/redis/store/test_link.py::test_a_server_that_was_silent_does_not_get_everything_at_once",
    ),
    Mutant(
        "failure: one job that cannot be sent fails those beside it",
        "scheduler/jobs/enqueue_batches.py",
        "if len(entries) == 1:",
        "if True:",
        "tests/pure/scheduler/test_enqueue_batches.py::test_only_the_job_that_cannot_be_sent_is_told",
    ),
]
