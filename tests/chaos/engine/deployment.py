"""A whole Penstock, its roles as processes of their own, to be hurt one by one."""

import asyncio
import contextlib
import os
import shutil
import signal
from pathlib import Path

import psutil
from chaos.engine.contest import write_rest
from chaos.engine.history import OK
from support.clients.load import DIGITS, eventually
from support.probe import Probe
from support.processes.roles import Role, all_ready, end_all, status_of, workers_in

from penstock.protos import cluster_pb2
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.store.link import Links

LEASE_MS = 1000
DEADLINE_S = 6.0
WORKING = cluster_pb2.WORKER_STATE_READY
MODEL, VERSION = "digits", 2


def digits(folder, *, replicas=2, version=VERSION):
    """A repository with one model, of two stages in `VERSION`, each with so many workers."""
    models = Path(folder) / "models"
    source = DIGITS / "models" / MODEL
    shutil.copytree(source / str(version), models / MODEL / str(version))
    shutil.copy(source / "labels.txt", models / MODEL)
    config = (source / "config.pbtxt").read_text()
    config += f"\ninstance_group [{{ count: {replicas} kind: KIND_CPU }}]\n"
    (models / MODEL / "config.pbtxt").write_text(config)
    return models


class Deployment:
    """One scheduler, some nodes and gateways, and whom they find under *store_url*.

    Attributes:
        urls: of the gateways.
    """

    def __init__(self, folder, store_url, models, **options):
        """Nothing is started yet.

        Args:
            options: ``nodes``, ``gateways``: how many. ``lease_ms``. ``deadline_s``: of calls that
                bring none, so that it is the gateway which keeps it. ``urls``: for some roles, or
                nodes by name, another way to the store. ``node_words``: more options of nodes.
        """
        self._folder = Path(folder)
        self._store_url = store_url
        self._models = ("--models", str(models))
        self._names = [f"node-{i}" for i in range(options.get("nodes", 1))]
        self._most = options.get("gateways", 2)
        self._lease_ms = options.get("lease_ms", LEASE_MS)
        self.deadline_s = options.get("deadline_s", DEADLINE_S)
        self._store_urls = options.get("urls", {})
        self._node_words = options.get("node_words", ())
        self._started = []
        self.schedulers, self.nodes, self.gateways, self.urls = [], [], [], []

    async def __aenter__(self):
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(end_all, self._started)
            self.schedulers.append(self.start_scheduler())
            self.nodes += [self.start_node(name) for name in self._names]
            self.gateways += [self.start_gateway() for _ in range(self._most)]
            self.urls += [await gateway.up() for gateway in self.gateways]
            for url in self.urls:
                await eventually(lambda url=url: all_ready(url), 120)
            await self.all_work()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_):
        for worker in self.worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)
        await self._stack.aclose()

    # roles

    def start_scheduler(self):
        return self._start("scheduler", *self._models)

    def start_node(self, name):
        lease = ("--lease-ms", str(self._lease_ms))
        words = (*self._models, "--node", name, "--threads", "1", *lease, *self._node_words)
        return self._start("node", *words, store_url=self._store_urls.get(name))

    def start_gateway(self, url="127.0.0.1:0"):
        deadline = ("--default-timeout-s", str(self.deadline_s))
        return self._start("gateway", "--port", url.rpartition(":")[2], *deadline)

    async def restart(self, roles, place):
        """Stop one in order, and start it again; its exit status."""
        status = await roles[place].stop()
        await self.replace(roles, place)
        return status

    async def replace(self, roles, place):
        """Start one again in the place of one that has ended, and wait until it serves."""
        if roles is self.gateways:
            roles[place] = self.start_gateway(self.urls[place])
        elif roles is self.nodes:
            roles[place] = self.start_node(self._names[place])
        else:
            roles[place] = self.start_scheduler()
        await roles[place].up()

    def _start(self, role, *options, store_url=None):
        url = store_url or self._store_urls.get(role, self._store_url)
        common = ("--redis", url, "--log-level", "warning")
        self._started.append(Role(self._folder, role, *common, *options))
        return self._started[-1]

    def worker_pids(self):
        """The processes of all nodes' workers that run now, by their numbers."""
        found = []
        for node in self.nodes:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [child.pid for child in psutil.Process(node.pid).children()]
        return sorted(found)

    def pids(self):
        """All processes by what they are."""
        named = {
            f"{one.ready.name.partition('-')[0]} {one.pid}": one.pid
            for one in (*self.schedulers, *self.nodes, *self.gateways)
        }
        return named | {f"worker {pid}": pid for pid in self.worker_pids()}

    # states

    async def all_work(self):
        """Wait until each version is ready at each gateway, and all its workers are."""

        async def all_of_them():
            status = await status_of(self.urls[0])
            workers = workers_in(status)
            wanted = sum(stage.replicas_wanted for v in status.versions for stage in v.stages)
            return len([w for w in workers if w.state == WORKING]) >= wanted > 0

        await eventually(all_of_them, 120)

    async def rest(self, run, store_url=None, *, model=MODEL, version=VERSION, ensemble=False):
        """What the store holds once nobody asks any more; *ensemble*: the model is one.

        Returns the model's counters.
        """
        async with Links(store_url or self._store_url) as links:
            probe = Probe(links, await open_queue(links))
            probe.keys = probe.queue.keys_of(model)
            return await write_rest(run, probe, model=model, version=version, ensemble=ensemble)

    def memory(self):
        """Megabytes of each process."""
        found = {}
        for name, pid in self.pids().items():
            with contextlib.suppress(psutil.NoSuchProcess):
                found[name] = psutil.Process(pid).memory_info().rss / 1e6
        return found

    def sockets(self):
        """Open files and sockets of each process."""
        return {name: psutil.Process(pid).num_fds() for name, pid in self.pids().items()}

    async def only_live_gateways(self):
        """Wait until the store knows of no gateway that has died, nor has kept its replies."""
        async with Links(self._store_url) as links:
            probe = Probe(links, await open_queue(links))

            async def forgotten():
                known = await probe.members(probe.keys.gateways)
                streams = await probe.names(probe.keys.replies + "*")
                return len(known) == len(self.gateways) and len(streams) <= len(known)

            await eventually(forgotten, 30)

    def logs(self):
        """The last words of each role."""
        return "\n".join(f"{one.log}:\n{one.log.read_text()[-2000:]}" for one in self._started)


async def recovered(run, clients, within_s, name):
    """Write down how long it takes until right answers come again."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    before = run.recorder.told["infer", OK]
    await eventually(lambda: run.recorder.told["infer", OK] > before + clients, 60)
    run.gauge(f"recovery after {name}", loop.time() - began_s, within_s)
