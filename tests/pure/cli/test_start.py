"""When a cluster that starts is ready: each model is, or has failed for good."""

import io

import pytest
from rich.console import Console

from penstock.cli.serve.readiness import REFUSED_S, Start
from penstock.cli.serve.screen import _Lines
from penstock.protos import cluster_pb2 as pb

LOADING, READY, FAILED = "LOADING", "READY", "UNAVAILABLE"


def version(model, state, *workers, reason="", stages=1):
    named = [pb.Worker(id=f"n/{model}", state=state) for state in workers]
    found = [pb.StageStatus(index=0, workers=named)] * stages
    return pb.VersionStatus(model=model, version=1, state=state, reason=reason, stages=found)


NODES, SCHEDULERS = [pb.Node(id="n")], [pb.Scheduler(id="s")]


def status(*versions, nodes=NODES, schedulers=SCHEDULERS):
    return pb.StatusResponse(nodes=nodes, schedulers=schedulers, versions=versions)


def is_over(*looks, expected=("a",)):
    """Whether the start is over after *looks*, each a second after the one before."""
    start = Start({(model, 1) for model in expected})
    return [start.is_over(one, float(second)) for second, one in enumerate(looks)][-1]


BROKEN = version("a", FAILED, reason="config.pbtxt is nonsense", stages=0)
CANNOT = version("a", FAILED, pb.WORKER_STATE_FAILED)
REFUSED = version("a", FAILED, reason="no node has room")


@pytest.mark.parametrize("one", [version("a", READY), BROKEN, CANNOT])
def test_what_is_ready_or_has_failed_is_done(one):
    assert is_over(status(one))


@pytest.mark.parametrize(
    "one",
    [
        status(),
        status(version("b", READY)),
        status(version("a", LOADING)),
        status(version("a", READY), version("b", LOADING)),
        status(version("a", READY), nodes=()),
        status(version("a", READY), nodes=[pb.Node(id="n", draining=True)]),
        status(version("a", READY), schedulers=()),
    ],
    ids=["nothing", "another", "loading", "one loads", "no node", "draining", "no scheduler"],
)
def test_what_may_still_come_is_waited_for(one):
    assert not is_over(one)


def test_what_no_node_will_have_is_done_when_that_lasts():
    """A node that was too busy to say that it lives seems to be gone for a moment."""
    enough = int(REFUSED_S) + 1
    back = [status(REFUSED)] * (enough - 1) + [status(version("a", LOADING))]

    assert not is_over(status(REFUSED))
    assert is_over(*[status(REFUSED)] * enough)
    assert not is_over(*back, status(REFUSED))


def test_nothing_is_waited_for_where_nothing_is_expected():
    assert is_over(status(), expected=())


def told(*looks, expected):
    out = io.StringIO()
    console = Console(file=out, width=80, color_system=None, highlight=False)
    lines = _Lines(console, Start({(model, 1) for model in expected}))
    for one in looks:
        lines.show(one)
    return out.getvalue().splitlines()


def test_each_of_a_few_models_is_told_of():
    looks = [status(version("a", state)) for state in (LOADING, LOADING, READY)]

    assert told(*looks, expected="a") == ["a version 1: LOADING", "a version 1: READY"]


def test_what_waits_for_the_node_of_this_start_is_no_failure():
    """It comes by itself: whoever reads this is not to start another."""
    why = "no node is running: start one with 'penstock node'"
    early = [version("a", FAILED, reason=why), version("ensemble", FAILED, reason=why, stages=0)]
    looks = [status(*early, nodes=()), status(version("a", READY), version("ensemble", READY))]

    lines = told(*looks, expected=["a", "ensemble"])
    assert [line for line in lines if "UNAVAILABLE" in line] == []
    assert lines[-1] == "ensemble version 1: READY"
    assert told(status(REFUSED), status(BROKEN), expected="a")[-1].endswith(": " + BROKEN.reason)


def test_of_many_models_it_is_told_how_many_are_ready():
    names = [f"m{number}" for number in range(40)]
    versions = [version(name, READY if name < "m2" else LOADING) for name in names]
    versions[-1] = version(names[-1], FAILED, pb.WORKER_STATE_FAILED, reason="it is damaged")

    lines = told(status(*versions), expected=names)

    assert lines == ["m39 version 1: UNAVAILABLE: it is damaged", "12 of 40 models ready"]
