"""The roles, each started by itself against one store, as on a cluster of machines."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time

import grpc
import psutil
from support.clients.load import eventually
from support.processes.forks import start

from penstock.protos import cluster_pb2, cluster_pb2_grpc


class Role:
    """One ``penstock <role>`` process."""

    def __init__(self, folder, role, *options, environment=None, within=()):
        """*within*: a command that runs it in surroundings of its own."""
        self._within = within
        self.ready = folder / f"{role}-{time.monotonic_ns()}"
        self.log = self.ready.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = start(
                *(role, *options, "--ready-file", str(self.ready)),
                # Elsewhere this process may have no number.
                *(() if within else ("--parent-pid", str(os.getpid()))),
                output=log,
                environment=environment,
                within=within,
            )

    @property
    def pid(self):
        return self.process.pid

    async def up(self):
        """Wait until it serves; what its ready file says."""

        def served():
            assert self.process.poll() is None, self.log.read_text()
            return self.ready.exists()

        await eventually(served, 150)
        return self.ready.read_text()

    async def stop(self):
        """SIGTERM; its exit status."""
        self.terminate()
        return await asyncio.to_thread(self.process.wait, 40)

    def terminate(self):
        """SIGTERM, to itself where it runs within another command."""
        if self._within:
            for child in psutil.Process(self.pid).children():
                child.terminate()
        else:
            self.process.terminate()


@contextlib.contextmanager
def starting(folder, url):
    """Starts roles on one store: ``start("node", "--node", "a")``; all are gone at the end."""
    started = []

    def start_role(name, *options, **surroundings):
        started.append(Role(folder, name, "--redis", url, *options, **surroundings))
        return started[-1]

    try:
        yield start_role
    finally:
        end_all(started)


def end_all(roles):
    """End all of them in order, the last that was started first; kill what does not end."""
    for one in reversed(roles):
        if one.process.poll() is None:
            one.terminate()
            # One that is stopped would not hear it.
            one.process.send_signal(signal.SIGCONT)
    for one in roles:
        try:
            one.process.wait(30)
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()


def serve(role, models, *options):
    """Start with *role* what a gateway needs to answer; *options* are the scheduler's."""
    role("scheduler", "--models", str(models), *options)
    role("node", "--models", str(models))


async def gateway(role, *options, port=0):
    """A gateway that answers, started with *role*: (role, address)."""
    started = role("gateway", "--port", str(port), *options)
    url = await started.up()
    await eventually(lambda: all_ready(url))
    return started, url


async def two_gateways(role, models):
    """Two gateways of one cluster, started with *role*: (role, address) each."""
    serve(role, models, "--repository-poll-secs", "0.2")
    return await asyncio.gather(gateway(role), gateway(role))


async def status_of(url):
    async with grpc.aio.insecure_channel(url) as channel:
        stub = cluster_pb2_grpc.ClusterStub(channel)
        return await stub.Status(cluster_pb2.StatusRequest(), timeout=5)


async def all_ready(url):
    versions = (await status_of(url)).versions
    return versions and all(version.state == "READY" for version in versions)


def workers_in(status):
    return [w for v in status.versions for stage in v.stages for w in stage.workers]


async def whole(cluster, workers):
    """Wait until *cluster*, which was hurt, has all of its roles, and so many ready workers."""

    async def at_work():
        found = cluster.processes()
        ready = {worker.pid for worker in await ready_workers(cluster.url)}
        there = found["gateway"] and found["scheduler"] and found["node"]
        return there and len(ready) == workers and ready == set(found["worker"])

    await eventually(at_work, 60)


async def nodes_that_work(url):
    return {worker.node for worker in await ready_workers(url)}


async def ready_workers(url):
    workers = workers_in(await status_of(url))
    return [w for w in workers if w.state == cluster_pb2.WORKER_STATE_READY]
