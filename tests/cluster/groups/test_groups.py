"""Groups of several stages on a cluster: their answers are those of one process that has it all.

Whatever worker dies, its group forms anew, and no byte of any answer changes.
"""

import contextlib
import json
import os
import signal

import pytest
from support.clients.answers import Answers
from support.clients.load import eventually
from support.models.language_versions import Local, ask_all, hold, write_model
from support.processes.cluster import Cluster

from penstock.client import Client
from penstock.protos import cluster_pb2 as pb

MODELS = {"one": (1, 1), "two": (2, 2), "three": (3, 1)}
"""Model -> its stages, and its groups. All have the same weights."""

OPTIONS = ("--lease-ms", "2000", "--no-http", "--log-level", "info")
ELSEWHERE = "another processor"
"""Where "three" was exported."""


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups")
    for name, (stages, count) in MODELS.items():
        models = write_model(folder, name, stages, count)
    manifest = models / "three/1/language.json"
    said = json.loads(manifest.read_text()) | {"proved_on": ELSEWHERE}
    manifest.write_text(json.dumps(said))
    with Cluster(folder / "cluster", models, *OPTIONS).running() as one:
        yield one


@pytest.fixture(scope="module")
def reference(groups):
    return Local(groups.models / "one/1")


@pytest.fixture
def answers(groups):
    with Answers(groups.url) as answers:
        yield answers


def _workers(groups, model):
    """The processes of each stage's ready workers."""
    with Client(groups.url) as client:
        (version,) = client.status(model).versions
    return [
        {worker.pid for worker in stage.workers if worker.state == pb.WORKER_STATE_READY}
        for stage in version.stages
    ]


async def _is_whole(groups, model):
    stages, count = MODELS[model]
    return await eventually(
        lambda: [len(pids) for pids in _workers(groups, model)] == [count] * stages
    )


@pytest.mark.parametrize("model", MODELS)
async def test_the_number_of_stages_changes_no_byte(model, groups, answers, reference):
    assert await _is_whole(groups, model)

    hold(reference, answers.ended(ask_all(answers, model)))


def _hurt(found, answers, pid, number):
    """Send a signal to *pid* in the middle; how many answers were under way."""
    answers.until(lambda: sum(len(answer.tokens) > 20 for answer in found) >= 4)
    os.kill(pid, number)
    return sum(not answer.ended for answer in found)


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM],
    ids=["SIGKILL", "SIGSTOP", "SIGTERM"],
)
async def test_a_worker_of_any_stage_that_ends_changes_no_byte(
    stage, number, groups, answers, reference
):
    """What its group had goes on in the other one, and there are two again."""
    assert await _is_whole(groups, "two")
    victim = _workers(groups, "two")[stage].pop()
    found = ask_all(answers, "two")
    under_way = _hurt(found, answers, victim, number)
    try:
        answers.ended(found)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)

    hold(reference, found)
    assert under_way > 0
    assert await eventually(lambda: victim not in _workers(groups, "two")[stage])
    assert await _is_whole(groups, "two")


@pytest.mark.parametrize("stage", [1, 2])
async def test_the_only_group_forms_anew_and_goes_on(stage, groups, answers, reference):
    """Its head and its other stages stay; the answers wait for the one that is new."""
    assert await _is_whole(groups, "three")
    before = _workers(groups, "three")
    (victim,) = before[stage]
    found = ask_all(answers, "three", 6)
    under_way = _hurt(found, answers, victim, signal.SIGKILL)

    hold(reference, answers.ended(found))
    assert under_way > 0
    assert await _is_whole(groups, "three")
    after = _workers(groups, "three")
    assert [one == other for one, other in zip(before, after, strict=True)] == [
        number != stage for number in range(3)
    ]


async def test_each_stage_proves_itself_once_where_its_exporter_did_not(groups, answers):
    """It is shown, and kept: a worker that comes later relies on it, after a restart too."""
    assert await _is_whole(groups, "three")
    tried = groups.output().count("how a lost cache comes back was tried")
    victims = [pids.copy().pop() for pids in _workers(groups, "three")]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    answers.ended(ask_all(answers, "three", 2))
    assert await _is_whole(groups, "three")
    with Client(groups.url) as client:
        (version,) = client.status("three").versions
    workers = [worker for stage in version.stages for worker in stage.workers]

    assert [worker.rebuild for worker in workers] == ["prefill"] * 3
    assert len({worker.numeric_domain for worker in workers} - {ELSEWHERE}) == 1
    assert tried == groups.output().count("how a lost cache comes back was tried") >= 3
