"""Workers that are forked from templates are workers like others, and share memory."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.clients.load import eventually
from support.models.bare_models import write_bare
from support.models.onnx_models import write_identity
from support.models.python_models import config, write_python
from support.processes.cluster import Cluster
from support.processes.roles import status_of

from penstock.client import AsyncClient
from penstock.process.machine import cores

MODELS = 6
WORKERS = MODELS + 3
MOST_PRIVATE_MIB, MOST_PRIVATE_OF_TORCH_MIB = 25, 60
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
GATED = """
import time
from pathlib import Path
class Model:
    def load(self, context):
        (Path({notes!r}) / context.model).touch()
        while not (Path({notes!r}) / "gate").exists():
            time.sleep(0.01)
    def execute(self, inputs, parameters):
        return {{"y": inputs["x"]}}
"""
"""It takes as long to load as it is told to."""

ONE, ONE_MORE = {"x": "data_type: TYPE_FP32 dims: [ 1 ]"}, {"y": "data_type: TYPE_FP32 dims: [ 1 ]"}
THREADS = 3
NUMBERS = np.arange(3, dtype=np.float32)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Small ONNX models, two workers of one Python model, and one of a `.pt2`."""
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
    write_bare(models, "program")
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

    assert len(processes["worker"]) == WORKERS
    assert {psutil.Process(pid).ppid() for pid in processes["worker"]} == {node}
    assert [os.getsid(pid) for pid in processes["worker"]] == processes["worker"]


def test_there_is_a_template_for_each_runtime_and_it_has_one_thread(running):
    found = templates(running)

    assert set(found) - {"seed"} == {"onnxruntime", "python", "pytorch"}
    assert {process.num_threads() for process in found.values()} == {1}


async def test_workers_share_most_of_their_memory(running):
    """What their start took is given back a moment after it."""

    def found(most):
        return all(private_mib(pid) < most(pid) for pid in running.processes()["worker"])

    def most(pid):
        runs_torch = "--model=program" in psutil.Process(pid).cmdline()
        return MOST_PRIVATE_OF_TORCH_MIB if runs_torch else MOST_PRIVATE_MIB

    await eventually(lambda: found(most), 60)


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


@pytest.fixture
async def gated(running, tmp_path):
    """More models than cores, which wait to be let in: their names, and where they tell of it."""
    names = [f"gated{number}" for number in range(cores() + 2)]
    for name in names:
        write_python(tmp_path, name, GATED.format(notes=str(tmp_path)), config(ONE, ONE_MORE))
        (tmp_path / name).rename(running.models / name)
    yield names, tmp_path
    (tmp_path / "gate").touch()
    for name in names:
        shutil.rmtree(running.models / name)

    async def are_gone():
        versions = (await status_of(running.url)).versions
        known = any(one.model in names for one in versions)
        return not known and len(running.processes()["worker"]) == WORKERS

    await eventually(are_gone, 60)


def policies(pid):
    """How the kernel schedules the threads of a process."""
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return {os.sched_getscheduler(thread) for thread in threads}


async def test_as_many_start_as_there_are_cores_and_stand_back_meanwhile(running, gated):
    """All at once would starve those that serve."""
    names, notes = gated

    async def reasons():
        versions = (await status_of(running.url)).versions
        return [one.reason for one in versions if one.model in names and one.state == "LOADING"]

    def workers():
        words = {pid: psutil.Process(pid).cmdline() for pid in running.processes()["worker"]}
        return {pid for pid, given in words.items() if any(f"--model={n}" in given for n in names)}

    async def all_are_placed():
        """Those that load are in their code, and the others wait for a place."""
        found = await reasons()
        loading = sum("is loading" in reason for reason in found)
        waiting = sum("is starting" in reason for reason in found)
        return loading == len(list(notes.glob("gated*"))) == cores() and waiting == 2

    await eventually(all_are_placed)
    begun = workers()
    assert len(begun) == cores()
    assert {policy for pid in begun for policy in policies(pid)} == {os.SCHED_BATCH}

    (notes / "gate").touch()

    await eventually(lambda: len(workers()) == len(names))
    await eventually(lambda: all(policies(pid) == {os.SCHED_OTHER} for pid in workers()))


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


async def test_templates_begin_by_themselves_where_their_seed_has_died(cluster, tmp_path):
    """In a cluster of its own: who is forked from then on shares less."""
    write_identity(tmp_path / "models", "m", "FP32", batch=False)
    running = cluster(tmp_path / "models")
    found = templates(running)
    for kind in ("seed", "onnxruntime"):
        found[kind].kill()
    (worker,) = running.processes()["worker"]
    os.kill(worker, 9)

    assert await answers(running, "m") == NUMBERS.tolist()
    assert set(templates(running)) == {"onnxruntime"}


async def test_a_killed_worker_of_a_template_is_started_again(running):
    before = set(running.processes()["worker"])
    worker = next(pid for pid in before if "--model=m1" in psutil.Process(pid).cmdline())
    os.kill(worker, 9)

    assert await answers(running, "m1") == NUMBERS.tolist()

    assert await eventually(lambda: len(running.processes()["worker"]) == WORKERS)
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
