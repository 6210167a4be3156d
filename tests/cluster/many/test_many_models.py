"""More models than cores come up, whatever waits for whatever."""

import asyncio
import shutil

import numpy as np
import psutil
import pytest
from support.clients.load import eventually
from support.models.onnx_models import write_identity
from support.models.pipelines import WIDTH, chain, value, write_onnx
from support.models.repositories import artifacts, put
from support.processes.cluster import Cluster
from support.processes.roles import status_of

from penstock.client import AsyncClient
from penstock.process.machine import cores

MODELS = 24
STAGES = 5
"""More than start at a time: each waits for the others."""


def write_pipeline(models, name):
    """Stages that hand on their input; the last one halves what is negative."""
    folder = models / name / "1"
    folder.mkdir(parents=True)
    for number in range(STAGES):
        reads, writes = f"t{number}", f"t{number + 1}"
        graph = chain(f"LeakyRelu {reads} {writes}", inputs=[value(reads)], outputs=[writes])
        shutil.move(write_onnx(folder, graph), folder / f"shard-{number}.onnx")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Small models, a pipeline of many stages, and one that is damaged."""
    models = tmp_path_factory.mktemp("many")
    for number in range(MODELS):
        write_identity(models, f"m{number:02}", "FP32", batch=False)
    write_pipeline(models, "a-pipeline")
    put(models, artifacts("damaged/1/model.onnx"))
    one = Cluster(tmp_path_factory.mktemp("many-cluster"), models)
    with one.running():
        yield one


async def test_it_is_ready_when_each_model_is_or_has_failed(running):
    states = {one.model: one.state for one in (await status_of(running.url)).versions}

    assert len(states) == MODELS + 2
    assert {model for model, state in states.items() if state != "READY"} == {"damaged"}
    assert states["damaged"] == "UNAVAILABLE"


async def test_each_model_answers(running):
    numbers = np.arange(3, dtype=np.float32)
    async with AsyncClient(running.url, deadline_s=60.0) as client:
        names = [f"m{number:02}" for number in range(MODELS)]
        found = await asyncio.gather(*(client.infer(name, {"input": numbers}) for name in names))

    assert [one["output"].tolist() for one in found] == [numbers.tolist()] * MODELS


async def test_stages_that_wait_for_each_other_all_start(running):
    row = np.full((1, WIDTH), -1.0, np.float32)
    async with AsyncClient(running.url, deadline_s=60.0) as client:
        found = await client.infer("a-pipeline", {"t0": row})

    assert np.allclose(found[f"t{STAGES}"], row * 0.01**STAGES)


def test_what_is_told_meanwhile_is_how_many_are_ready(running):
    output = running.output()

    assert f"of {MODELS + 2} models ready" in output
    assert "damaged version 1: UNAVAILABLE" in output
    assert "m00 version 1" not in output
    # Its own node comes by itself, and ONNX Runtime's words are in the reason.
    assert "penstock node" not in output
    assert "onnxruntime:" not in output


def test_workers_share_the_cores(running):
    processes = running.processes()["worker"]
    share = max(1, cores() // len(processes))

    found = [word for pid in processes for word in psutil.Process(pid).cmdline()]
    assert found.count(f"--threads={share}") == len(processes)


async def test_no_worker_ended_for_want_of_time(running):
    ended = [line for line in running.output().splitlines() if "worker ended" in line]

    assert [line for line in ended if "damaged" not in line] == []
    workers = [
        worker
        for version in (await status_of(running.url)).versions
        for stage in version.stages
        for worker in stage.workers
    ]
    assert {worker.restarts for worker in workers if worker.model != "damaged"} == {0}
    assert await eventually(lambda: running.processes()["worker"])
