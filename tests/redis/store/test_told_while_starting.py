"""A role that is told to stop while it waits for its store, or loads, ends then and not later."""

import asyncio
import os
import socket
import subprocess
import sys
from functools import partial

import pytest
import redis
from support.models.python_models import config, write_python
from support.processes.roles import starting
from support.waiting import until

MODELS = ("--models", ".")
ROLES = {
    "gateway": ("--port", "0", "--no-metrics"),
    "scheduler": (),
    "node": MODELS,
    "worker": (*MODELS, "--model", "m", "--version", "1"),
}


@pytest.fixture
def silent():
    """A store that takes connections and says nothing: where it is, and what waits for one."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        accept = partial(asyncio.to_thread, lambda: taken.append(server.accept()))
        yield f"redis://127.0.0.1:{server.getsockname()[1]}", accept
    for connection, _ in taken:
        connection.close()


@pytest.fixture
def paused(store):
    """A store that answers, but takes no writes for a while, as before a failover."""
    client = redis.Redis.from_url(store.url)
    client.client_pause(60_000, all=False)
    return store.url, lambda: until(lambda: client.info("clients")["blocked_clients"], 30)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", ["silent", "paused"])
async def test_it_ends_in_order(request, tmp_path, kind, role):
    """Before, it looked to the end of its patience, and failed as if nobody had told it."""
    url, until_it_waits = request.getfixturevalue(kind)

    with starting(tmp_path, url) as start:
        started = start(role, *ROLES[role])
        await until_it_waits()
        status = await started.stop()

    assert (status, "Traceback" in started.log.read_text()) == (0, False), started.log.read_text()


LOADS_FOR_EVER = """
import time
from pathlib import Path
class Model:
    def load(self, context):
        Path({note!r}).touch()
        while True:
            time.sleep(0.1)
    def execute(self, inputs, parameters):
        return inputs
"""


async def test_a_worker_ends_while_it_loads_what_cannot_be_broken_off(redis_url, tmp_path):
    note, models = tmp_path / "note", tmp_path / "models"
    tensor = {"x": "data_type: TYPE_FP32 dims: [ 1 ]"}
    write_python(models, "m", LOADS_FOR_EVER.format(note=str(note)), config(tensor, tensor))
    at = ("--models", str(models))

    with starting(tmp_path, redis_url) as start:
        start("scheduler", *at)
        worker = start("worker", *at, "--model", "m", "--version", "1", "--allow-python-models")
        await until(note.exists, 60)
        status = await worker.stop()

    assert status == 0, worker.log.read_text()


@pytest.fixture
def slow_data(tmp_path):
    """A directory of a store that loads for ever: it reads a pipe, into which nobody writes."""
    logs = tmp_path / "data" / "appendonlydir"
    logs.mkdir(parents=True)
    (logs / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    os.mkfifo(logs / "appendonly.aof.1.incr.aof")
    return tmp_path / "data"


async def test_a_cluster_ends_while_its_own_store_loads(slow_data):
    words = ("up", *MODELS, "--data", str(slow_data), "--port", "0")
    up = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "penstock", *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    log = slow_data / "valkey.log"
    try:
        await until(lambda: log.exists() and "DB loaded" in log.read_text(), 30)
        up.terminate()
        output, _ = await asyncio.wait_for(up.communicate(), 40)
    finally:
        if up.returncode is None:
            up.kill()

    assert (up.returncode, output.splitlines()[-1]) == (0, b"Stopped.")
