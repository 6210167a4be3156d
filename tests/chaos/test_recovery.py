"""How soon a killed worker's request runs elsewhere: at once where its node sees it, or else with
the end of its lease.

Each bound is that of I3, and holds for the median of some kills: a machine that others use, too,
may pause for longer than the half second that it leaves.
"""

import asyncio
import contextlib
import os
import signal
from statistics import median

import pytest
from chaos.engine.clients import Patients
from chaos.engine.deployment import Deployment
from support.models.onnx_models import write_slow
from support.probe import Probe
from support.waiting import until

from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.link import Links

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SLOW = {"model": "slow", "version": 1}
WITHIN_S = 0.5


@pytest.fixture
def models(tmp_path):
    """A model with two workers, each for one request at a time."""
    entry = write_slow(tmp_path / "models", max_batch=1)
    with (entry / "config.pbtxt").open("a") as file:
        file.write("instance_group [{ count: 2 kind: KIND_CPU }]\n")
    return tmp_path / "models"


class Watcher:
    """Sees in the store which worker has the one job that there is."""

    def __init__(self, links, queue):
        self._probe = Probe(links, queue)
        self._registry = Registry(links)

    async def owner(self):
        """The boot id of the worker that holds a lease; None while none does."""
        for id_ in await self._probe.members(self._probe.keys.lease):
            key = self._probe.keys.jobs + id_
            token, state = await self._probe.command("HMGET", key, "token", "state")
            if state == b"leased":
                return token.decode().partition(".")[0]
        return None

    async def pid_of(self, boot_id):
        workers = (await self._registry.snapshot()).workers.values()
        return next((one.pid for one in workers if one.boot_id == boot_id), None)


@contextlib.asynccontextmanager
async def watching(url):
    async with Links(url) as links:
        yield Watcher(links, await open_queue(links))


@contextlib.contextmanager
def hidden_from(node):
    """The node is stopped for as long, and cannot see its workers end."""
    os.kill(node.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(node.pid, signal.SIGCONT)


async def killed_under_a_request(run, watcher, patients, unseen):
    """Kill the worker that has the one request; seconds until another one has it.

    *unseen*: a context in which nobody is told.
    """
    loop = asyncio.get_running_loop()
    request = asyncio.create_task(patients.ask(0.5))
    first = await until(watcher.owner)
    pid = await until(lambda: watcher.pid_of(first))

    async def another():
        return await watcher.owner() not in (None, first)

    with unseen:
        began_s = loop.time()
        with run.fault("kill worker"):
            os.kill(pid, signal.SIGKILL)
        await until(another, 30)
        took_s = loop.time() - began_s
    await request
    return took_s


@contextlib.asynccontextmanager
async def scene(run, url, models, folder, lease_ms):
    """A deployment, somebody who asks it, and somebody who watches the store."""
    options = {"gateways": 1, "deadline_s": 30.0, "lease_ms": lease_ms}
    async with (
        Deployment(folder, url, models, **options) as penstock,
        Patients(run, penstock.urls[0], penstock.deadline_s) as patients,
        watching(url) as watcher,
    ):
        yield penstock, patients, watcher
        await penstock.rest(run, **SLOW)


async def test_t3_a_node_that_sees_its_worker_end_does_not_wait_for_the_lease(
    run, size, store, models, tmp_path
):
    """The lease is longer than any request may take: without the notice, none would be answered."""
    async with scene(run, store.url, models, tmp_path, 120_000) as (penstock, patients, watcher):
        took_s = []
        for _ in range(size(3, 40)):
            took_s.append(
                await killed_under_a_request(run, watcher, patients, contextlib.nullcontext())
            )
            await penstock.all_work()
        run.gauge("seconds until it ran elsewhere", median(took_s), WITHIN_S)


async def test_t3_a_death_that_nobody_sees_ends_with_the_lease(run, size, store, models, tmp_path):
    """Its node is stopped meanwhile."""
    lease_ms = 1000
    async with scene(run, store.url, models, tmp_path, lease_ms) as (penstock, patients, watcher):
        took_s = []
        for _ in range(size(3, 40)):
            unseen = hidden_from(penstock.nodes[0])
            took_s.append(await killed_under_a_request(run, watcher, patients, unseen))
            await penstock.all_work()
        run.gauge("seconds until it ran elsewhere", median(took_s), lease_ms / 1000 + WITHIN_S)
