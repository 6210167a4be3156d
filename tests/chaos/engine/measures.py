"""What a history comes to in numbers. Pure: events and violations in, one row of the table out."""

import itertools
from collections import Counter
from typing import NamedTuple

from chaos.engine.history import FAIL, INVOKE, OK, UNKNOWN

HARMS = {"lost": ("lost",), "doubled": ("doubled", "fenced"), "wrong": ("wrong",)}
"""Which of the checker's rules make a request count as what."""


class Request(NamedTuple):
    """A call, or a job whose enqueuing was confirmed; *end_s* is None while it has no end."""

    begin_s: float
    end_s: float | None
    kind: str


def requests_of(events):
    """All requests, by their ids: calls, and jobs that were accepted."""
    found = {}
    for event in events:
        begun = found.get(event.id)
        if (event.operation, event.kind) in (("infer", INVOKE), ("enqueue", OK)):
            found[event.id] = Request(event.at_s, None, UNKNOWN)
        elif event.operation in ("infer", "reply") and begun and begun.end_s is None:
            kind = OK if event.facts.get("code", 0) == 0 else FAIL
            kind = kind if event.operation == "reply" else event.kind
            found[event.id] = Request(begun.begin_s, event.at_s, kind)
    return found


def faults_of(events):
    """(name, beginning, end) of each fault."""
    open_s, found = {}, []
    for event in events:
        if event.operation != "fault":
            continue
        if event.kind == INVOKE:
            open_s[event.id] = event.at_s
        elif event.id in open_s:
            found.append((event.id, open_s.pop(event.id), event.at_s))
    return found


def recoveries_of(events):
    """Seconds of each fault from its end until every request that was open then had its own end.

    A fault's end: the process has been killed, the store is up again, the cut is mended.
    """
    requests = [one for one in requests_of(events).values() if one.end_s is not None]
    found = []
    for _, _, over_s in faults_of(events):
        ends = [one.end_s for one in requests if one.begin_s <= over_s < one.end_s]
        found.append(max(ends, default=over_s) - over_s)
    return found


def row_of(run):
    """The numbers of one judged run, by the names of their columns."""
    requests = requests_of(run.events).values()
    kinds = Counter(one.kind for one in requests)
    took = sorted(one.end_s - one.begin_s for one in requests if one.kind == OK)
    ends = sorted(one.end_s for one in requests if one.kind == OK)
    rules = Counter(violation.rule for violation in run.violations or ())
    return {
        "run": run.name,
        "seed": run.seed,
        "faults": len(faults_of(run.events)),
        "requests": len(requests),
        "ok": kinds[OK],
        "refused": kinds[FAIL] + kinds[UNKNOWN],
        **{harm: sum(rules[name] for name in names) for harm, names in HARMS.items()},
        "p50 ms": milliseconds(took, 0.5),
        "p99 ms": milliseconds(took, 0.99),
        "gap s": round(max((b - a for a, b in itertools.pairwise(ends)), default=0.0), 2),
        "recoveries": [round(seconds, 3) for seconds in recoveries_of(run.events)],
        "verdict": verdict(run),
    }


def verdict(run):
    """One word, or a few."""
    if run.error:
        return f"ended by {run.error}"
    return f"{len(run.violations)} violations" if run.violations else "holds"


def milliseconds(ordered, share):
    """The quantile of *ordered* seconds; None of none."""
    return round(1000 * quantile(ordered, share), 1) if ordered else None


def quantile(ordered, share):
    """The value below which *share* of them lie."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
