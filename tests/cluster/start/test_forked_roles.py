"""The roles of `penstock up` are forked from one template, and are its children like any."""

import contextlib
import os
import re
import signal

import numpy as np
import psutil
import pytest
from support.clients.load import eventually
from support.models.onnx_models import write_identity
from support.processes.cluster import Cluster

from penstock.client import AsyncClient
from penstock.errors import ModelNotFound

ROLES = ("gateway", "node", "scheduler")
NUMBERS = np.arange(3, dtype=np.float32)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    models = tmp_path_factory.mktemp("forked")
    write_identity(models, "m", "FP32", batch=False)
    one = Cluster(tmp_path_factory.mktemp("forked-cluster"), models)
    with one.running():
        yield one


def template(running):
    """The process that the roles are forked from."""
    (found,) = [one for one in psutil.Process(running.pid).children() if _is_template(one)]
    return found


def _is_template(process):
    try:
        return process.cmdline()[3:6] == ["penstock", "template", "roles"]
    except psutil.NoSuchProcess:
        return False  # one that has ended, and is not taken away yet


def _is_any(process):
    try:
        return process.cmdline()[3:5] == ["penstock", "template"]
    except psutil.NoSuchProcess:
        return False


async def answer(running):
    async with AsyncClient(running.url, deadline_s=60.0) as client:
        return (await client.infer("m", {"input": NUMBERS}))["output"].tolist()


def test_roles_are_children_of_up_in_sessions_of_their_own(running):
    processes = running.processes()
    pids = [processes[role][0] for role in ROLES]

    assert {psutil.Process(pid).ppid() for pid in pids} == {running.pid}
    assert [os.getsid(pid) for pid in pids] == pids
    assert template(running).num_threads() == 1
    assert "started as programs" not in running.output()


def test_templates_of_workers_come_from_the_node_as_it_was_born(running):
    (node,) = running.processes()["node"]
    kinds = {one.cmdline()[5]: one for one in psutil.Process(node).children() if _is_any(one)}

    assert set(kinds) == {"seed", "onnxruntime"}
    assert {one.num_threads() for one in kinds.values()} == {1}
    # The system shows what a program began with: this one has begun none of its own.
    assert kinds["onnxruntime"].environ() == psutil.Process(node).environ()


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_that_dies_comes_back_though_its_template_has_died(running, role):
    before = template(running).pid
    os.kill(before, signal.SIGKILL)
    killed = running.kill(role)

    assert await eventually(lambda: set(running.processes()[role]) - {killed}, 60)

    async def answered():
        # Where a node is away for long, nothing is placed until it is back, and there is no model.
        with contextlib.suppress(ModelNotFound):
            return await answer(running) == NUMBERS.tolist()

    assert await eventually(answered, 60)
    assert template(running).pid != before
    assert re.search(
        rf"^{role} .* was killed by signal 9, starting it again", running.output(), re.MULTILINE
    )


def _ends_without_its_seed(running, role):
    """End a *role* of `up` whose seed can neither hear of that nor end by itself."""
    own = {one.pid for one in psutil.Process(running.pid).children()}
    (pid,) = own & set(running.processes()[role])
    (seed,) = [one for one in psutil.Process(pid).children() if _is_any(one) and _is_seed(one)]
    seed.suspend()
    process = psutil.Process(pid)
    process.terminate()
    process.wait(60)
    return not seed.is_running()


def _is_seed(process):
    return process.cmdline()[5] == "seed"


def test_roles_leave_no_seed_behind(tmp_path):
    (tmp_path / "models").mkdir()
    with Cluster(tmp_path / "cluster", tmp_path / "models", "--processes", "2").running() as one:
        assert _ends_without_its_seed(one, "node")
        assert _ends_without_its_seed(one, "gateway")
