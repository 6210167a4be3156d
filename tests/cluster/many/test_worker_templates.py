"""Workers that are forked from templates are workers like others, and share memory."""

import contextlib
import os
import re
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.clients.load import eventually
from support.models.onnx_models import write_identity
from support.models.python_models import config, write_python
from support.processes.cluster import Cluster

from penstock.client import AsyncClient

MODELS = 6
MOST_PRIVATE_MIB = 25
CHANCE = """
import os
import random
import numpy as np
from threadpoolctl import threadpool_info
class Model:
    def execute(self, inputs, parameters):
        drawn = [np.random.random(), random.random()]
        (threads,) = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
        facts = [os.getpid(), threads]
        return {"drawn": np.array([drawn]), "facts": np.array([facts])}
"""
THREADS = 3
NUMBERS = np.arange(3, dtype=np.float32)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Small ONNX models, and two workers of one Python model."""
    models = tmp_path_factory.mktemp("templates")
    for number in range(MODELS):
        write_identity(models, f"m{number}", "FP32", batch=False)
    tensors = {
        "drawn": "data_type: TYPE_FP64 dims: [ 2 ]",
        "facts": "data_type: TYPE_INT64 dims: [ 2 ]",
    }
    inputs = {"any": "data_type: TYPE_FP32 dims: [ 1 ]"}
    two = "instance_group { count: 2 }"
    write_python(models, "chance", CHANCE, config(inputs, tensors, max_batch=1, more=two))
    options = ("--allow-python-models", "--threads", str(THREADS))
    one = Cluster(tmp_path_factory.mktemp("templates-cluster"), models, *options)
    with one.running():
        yield one


def templates(running):
    """The template processes, by their runtime; "seed" is what these were forked from."""
    found = {}
    for child in psutil.Process(running.processes()["node"][0]).children():
        # One that has ended may not have been taken away yet.
        with contextlib.suppress(psutil.NoSuchProcess):
            words = child.cmdline()
            if words[3:5] == ["penstock", "template"]:
                found[words[5]] = child
    return found


def private_mib(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


async def answers(running, model):
    async with AsyncClient(running.url, deadline_s=60.0) as client:
        return (await client.infer(model, {"input": NUMBERS}))["output"].tolist()


def test_workers_are_children_of_their_node(running):
    processes = running.processes()
    (node,) = processes["node"]

    assert len(processes["worker"]) == MODELS + 2
    assert {psutil.Process(pid).ppid() for pid in processes["worker"]} == {node}
    assert [os.getsid(pid) for pid in processes["worker"]] == processes["worker"]


def test_there_is_a_template_for_each_runtime_and_it_has_one_thread(running):
    found = templates(running)

    assert set(found) - {"seed"} == {"onnxruntime", "python"}
    assert {process.num_threads() for process in found.values()} == {1}


async def test_workers_share_most_of_their_memory(running):
    """What their start took is given back a moment after it."""

    def found():
        return {pid: private_mib(pid) for pid in running.processes()["worker"]}

    await eventually(lambda: max(found().values()) < MOST_PRIVATE_MIB, 60)


async def test_workers_draw_different_numbers_with_threads_of_their_own(running):
    drawn, threads = {}, set()
    async with AsyncClient(running.url, deadline_s=60.0) as client:

        async def both():
            found = await client.infer("chance", {"any": np.zeros((1, 1), np.float32)})
            pid, count = found["facts"][0].tolist()
            drawn.setdefault(pid, found["drawn"][0].tolist())
            threads.add(count)
            return len(drawn) == 2

        await eventually(both, 60)

    (first, second) = drawn.values()
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert threads == {THREADS}


async def test_a_template_that_dies_is_replaced_when_it_is_needed(running):
    before = templates(running)["onnxruntime"]
    workers = set(running.processes()["worker"])
    before.kill()
    worker = next(pid for pid in workers if "--model=m0" in psutil.Process(pid).cmdline())
    os.kill(worker, 9)

    assert await answers(running, "m0") == NUMBERS.tolist()

    assert templates(running)["onnxruntime"].pid != before.pid
    assert workers - {worker} < set(running.processes()["worker"])
    assert "started as programs" not in running.output()


async def test_templates_begin_by_themselves_where_their_seed_has_died(running):
    found = templates(running)
    for kind in ("seed", "onnxruntime"):
        if kind in found:
            found[kind].kill()
    worker = next(
        pid
        for pid in running.processes()["worker"]
        if "--model=m2" in psutil.Process(pid).cmdline()
    )
    os.kill(worker, 9)

    assert await answers(running, "m2") == NUMBERS.tolist()
    assert set(templates(running)) == {"onnxruntime", "python"}


async def test_a_killed_worker_of_a_template_is_started_again(running):
    before = set(running.processes()["worker"])
    worker = next(pid for pid in before if "--model=m1" in psutil.Process(pid).cmdline())
    os.kill(worker, 9)

    assert await answers(running, "m1") == NUMBERS.tolist()

    assert await eventually(lambda: len(running.processes()["worker"]) == MODELS + 2)
    assert worker not in running.processes()["worker"]
    assert "SIGKILL" in running.output()


THREAD = """
import sys, threading
if "template" in sys.argv:
    threading.Thread(target=threading.Event().wait, name="helper", daemon=True).start()
"""


async def test_workers_start_as_programs_where_a_template_cannot_be_forked(cluster, tmp_path):
    models, site = tmp_path / "models", tmp_path / "site"
    for number in range(2):
        write_identity(models, f"m{number}", "FP32", batch=False)
    site.mkdir()
    (site / "sitecustomize.py").write_text(THREAD)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])

    running = cluster(models, environment={"PYTHONPATH": path})

    assert await answers(running, "m1") == NUMBERS.tolist()
    programs = re.findall(r"started as programs.*kind=(\w+)", running.output())
    assert sorted(programs) == ["onnxruntime", "roles"]
    assert len(running.processes()["worker"]) == 2
