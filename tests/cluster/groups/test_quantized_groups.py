"""Weights of 4 bits in two stages on a cluster: a worker's death changes no byte."""

import os
import signal

import pytest
from support.clients.answers import Answers
from support.clients.load import eventually
from support.models.language_versions import Local, ask_all, hold, write_model
from support.processes.cluster import Cluster

from penstock.client import Client
from penstock.exporting.graphs.matrices import Weights
from penstock.protos import cluster_pb2 as pb


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    models = write_model(folder, "int4", 2, 2, Weights.INT4)
    with Cluster(folder / "cluster", models, "--lease-ms", "2000", "--no-http").running() as one:
        yield one


@pytest.fixture(scope="module")
def reference(cluster):
    return Local(cluster.models / "int4/1")


@pytest.fixture
def answers(cluster):
    with Answers(cluster.url) as answers:
        yield answers


def _workers(cluster):
    """The processes of each stage's ready workers."""
    with Client(cluster.url) as client:
        (version,) = client.status("int4").versions
    return [
        {worker.pid for worker in stage.workers if worker.state == pb.WORKER_STATE_READY}
        for stage in version.stages
    ]


@pytest.mark.parametrize("stage", [0, 1])
async def test_a_worker_of_any_stage_that_ends_changes_no_byte(stage, cluster, answers, reference):
    assert await eventually(lambda: [len(pids) for pids in _workers(cluster)] == [2, 2])
    victim = _workers(cluster)[stage].pop()
    found = ask_all(answers, "int4")
    answers.until(lambda: sum(len(answer.tokens) > 20 for answer in found) >= 4)
    os.kill(victim, signal.SIGKILL)
    under_way = sum(not answer.ended for answer in found)

    hold(reference, answers.ended(found))
    assert under_way > 0
    assert await eventually(lambda: victim not in _workers(cluster)[stage])
