"""What is made of a history, for the table."""

from types import SimpleNamespace

import pytest
from chaos.engine.checker import Violation
from chaos.engine.history import FAIL, INVOKE, OK, Event
from chaos.engine.measures import faults_of, quantile, recoveries_of, requests_of, row_of
from chaos.engine.report import Report


def event(at_s, operation, id_, kind, **facts):
    return Event(at_s, "p", operation, id_, kind, facts)


HISTORY = [
    event(0.0, "infer", "before", INVOKE),
    event(0.1, "infer", "before", OK, answer=[]),
    event(0.2, "infer", "during", INVOKE),
    event(0.3, "fault", "kill", INVOKE),
    event(0.4, "fault", "kill", OK),
    event(0.5, "infer", "after", INVOKE),
    event(0.9, "infer", "during", OK, answer=[]),
    event(2.0, "infer", "after", FAIL, code="UNAVAILABLE", text=""),
]
JOBS = [
    event(0.0, "enqueue", "j", INVOKE),
    event(0.1, "enqueue", "j", OK),
    event(0.2, "fault", "kill", INVOKE),
    event(0.2, "fault", "kill", OK),
    event(0.2, "enqueue", "refused", INVOKE),
    event(0.3, "enqueue", "refused", FAIL, code="UNAVAILABLE"),
    event(0.6, "reply", "j", OK, code=0, body="w.1"),
    event(0.8, "reply", "j", OK, code=0, body="w.1"),
]


def judged(events, *violations):
    return SimpleNamespace(name="t", seed=7, error=None, events=events, violations=violations)


def test_calls_are_requests_from_their_beginning_to_their_end():
    found = requests_of(HISTORY)

    assert {id_: (one.begin_s, one.end_s, one.kind) for id_, one in found.items()} == {
        "before": (0.0, 0.1, OK),
        "during": (0.2, 0.9, OK),
        "after": (0.5, 2.0, FAIL),
    }


def test_accepted_jobs_are_requests_until_their_first_reply():
    assert requests_of(JOBS) == {"j": (0.1, 0.6, OK)}


def test_a_fault_lasts_from_its_beginning_to_its_end():
    assert faults_of(HISTORY) == [("kill", 0.3, 0.4)]


@pytest.mark.parametrize(("events", "took_s"), [(HISTORY, 0.5), (JOBS, 0.4)])
def test_recovery_is_the_last_end_of_what_was_open_when_the_fault_was_over(events, took_s):
    assert recoveries_of(events) == pytest.approx([took_s])


def test_a_fault_under_which_nothing_was_open_is_recovered_from_at_once():
    assert recoveries_of(HISTORY[3:5]) == [0.0]


def test_a_row_counts_what_the_checker_found():
    found = [Violation(rule, "a", "") for rule in ("lost", "fenced", "doubled", "wrong", "limits")]

    row = row_of(judged(HISTORY, *found))

    assert (row["lost"], row["doubled"], row["wrong"]) == (1, 2, 1)
    assert (row["requests"], row["ok"], row["refused"], row["faults"]) == (3, 2, 1, 1)
    assert row["verdict"] == "5 violations"


def test_the_report_sums_up_all_rows(tmp_path):
    report = Report(tmp_path)
    report.rows += [row_of(judged(HISTORY)), row_of(judged(JOBS))]

    text = report.finish()

    assert "2 of 2 runs hold: 2 faults, 4 requests, lost 0, doubled 0, wrong 0" in text
    assert "recovery p50 0.50 s, p99 0.50 s, max 0.50 s. Again: CHAOS_SEED=7" in text
    assert report.total() in (tmp_path / "summary.md").read_text()


def test_quantiles_are_values_that_there_were():
    assert [quantile([1, 2, 3, 4], share) for share in (0, 0.5, 0.99, 1)] == [1, 3, 4, 4]
