"""The node agent: registers this machine, and runs the workers that are placed on it."""

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

import penstock
from penstock.errors import InvalidConfiguration, PenstockError
from penstock.process import machine
from penstock.process.child_process import role_environment
from penstock.process.forking.launch import Launch, start_program
from penstock.process.forking.templates import Seed, Templates
from penstock.process.lifetime import (
    kill_descendants,
    reap_strangers,
    say_ready,
    starting,
    stop_signals,
    until_first,
)
from penstock.process.machine import Gpu
from penstock.process.supervised import supervise
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.queue import Queue, open_queue
from penstock.scheduler.registry.registry import ANNOUNCE_EVERY_S, Registry, keep_announcing, leave
from penstock.scheduler.registry.snapshot import empty_snapshot
from penstock.scheduler.registry.steadiness import steady
from penstock.scheduler.store.link import Links
from penstock.settings import NodeSettings, WorkerSettings
from penstock.transport.changing_certificates import ChangingCertificates
from penstock.transport.health import Health, telling_health
from penstock.workers.node.devices import devices_of_machine, variables_for
from penstock.workers.node.start_limit import StartLimit
from penstock.workers.node.supervisor import Starts, WorkerSupervisor
from penstock.workers.node.turns import at_once
from penstock.workers.node.worker_set import WorkerSet

log = structlog.get_logger()

_NAME_CHECK_S: Final = 1.5 * ANNOUNCE_EVERY_S


async def run(settings: NodeSettings, seed: Seed | None = None) -> None:
    """Run this machine's agent until told to stop.

    Args:
        seed: where the templates of workers come from; None: they are started as programs.

    Raises:
        InvalidConfiguration: another agent has the name, there is no model repository, or
            certificates cannot be used.
        StoreUnavailable, StoreUnsuitable: it could not begin.
    """
    for repository in settings.models:
        if not repository.is_dir():
            raise InvalidConfiguration(f"--models {repository}: there is no such directory here")
    if (hop_files := settings.hop_files()) is not None:
        # Its workers would say the same, one after the other.
        ChangingCertificates(hop_files)
    async with (
        stop_signals(lambda: kill_descendants(os.getpid())) as stop,
        starting(stop) as started,
        Templates(seed) as templates,
        telling_health(settings.health_host, settings.health_port) as health,
        Links(settings.redis) as links,
    ):
        registry = Registry(links)
        gpus = await asyncio.to_thread(machine.gpus)
        record = _record(settings, gpus)
        await _check_name(registry, record)
        queue = await open_queue(links)
        agent = _Agent(settings, record, gpus, registry, queue, health, templates)
        await agent.run(stop, started)


class _Agent:
    """One run of the agent; what its supervisors tell the cluster goes through it."""

    def __init__(
        self,
        settings: NodeSettings,
        record: pb.Node,
        gpus: Sequence[Gpu],
        registry: Registry,
        queue: Queue,
        health: Health,
        templates: Templates,
    ) -> None:
        self._health = health
        self._settings = settings
        self._record = record
        self._gpus = gpus
        self._registry = registry
        self._queue = queue
        self._workers = WorkerSet(self._supervisor_of)
        self._start_limit = StartLimit(machine.cores())
        self._templates = templates
        self._environment = role_environment(settings.redis)
        self._snapshot = empty_snapshot()

    async def run(self, stop: asyncio.Event, started: Callable[[], object]) -> None:
        reaping = asyncio.create_task(reap_strangers(self._children))
        try:
            await self._run(stop, started)
        finally:
            reaping.cancel()

    async def _run(self, stop: asyncio.Event, started: Callable[[], object]) -> None:
        await self._registry.announce(self._record)
        started()
        announce = partial(keep_announcing, self._registry, self._record)
        announcing = asyncio.create_task(supervise("heartbeat", announce))
        following = asyncio.create_task(supervise("placements", self._follow))
        vouching = asyncio.create_task(supervise("vouching", self._vouch))
        self._health.ready = True
        say_ready(self._settings.ready_file, self._record.id)
        log.info("node is up", node=self._record.id, devices=len(self._record.devices))
        try:
            await until_first(stop, announcing, following, self._workers.broken)
        finally:
            following.cancel()
            await self._drain()
            announcing.cancel()
            vouching.cancel()
            await asyncio.gather(announcing, following, vouching, return_exceptions=True)
        await leave(self._registry, self._record)

    async def announce(self, record: pb.Worker) -> None:
        """For a supervisor."""
        await self._registry.announce(record)

    async def recorded(self, id_: str) -> pb.Worker | None:
        """For a supervisor."""
        return (await self._registry.snapshot()).workers.get(id_)

    async def release_leases_of(self, model: str, boot_id: str) -> None:
        """For a supervisor."""
        await self._queue.release_leases_of(model, boot_id)

    async def _follow(self) -> None:
        async with contextlib.aclosing(steady(self._registry.watch())) as snapshots:
            async for snapshot in snapshots:
                placements, self._snapshot = self._snapshot.placements, snapshot
                if snapshot.placements is not placements:
                    own = [p for p in snapshot.placements if p.node == self._record.id]
                    self._workers.follow(own)

    async def _vouch(self) -> None:
        """Say of all workers at once that they live: of hundreds, each saying so costs a core."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(ANNOUNCE_EVERY_S)
            live = self._workers.live(loop.time())
            if live:
                # What Redis has missed is said again.
                with contextlib.suppress(PenstockError):
                    await self._registry.see_workers(live)

    async def _drain(self) -> None:
        """Workers end what they have begun; what they have not goes to other nodes."""
        log.info("draining", workers=len(self._workers))
        # Announced within a second; the scheduler then places the workers elsewhere.
        self._health.ready = False
        self._record.draining = True
        await self._workers.stop()

    def _children(self) -> set[int]:
        """Processes of this one that somebody waits for."""
        return {*self._templates.pids, *self._workers.pids}

    def _supervisor_of(self, placement: pb.Placement) -> WorkerSupervisor:
        environment = {**self._environment, **variables_for(placement.device, self._gpus)}
        starts = Starts(self._start_limit, self._launch_of(placement), environment)
        return WorkerSupervisor(
            placement,
            self._command,
            self,
            starts,
            stop_s=self._settings.drain_s,
            silence_s=self._settings.worker_silence_s,
        )

    def _launch_of(self, placement: pb.Placement) -> Launch:
        version = self._snapshot.revision_of(
            placement.model, placement.version, placement.revision_id
        )
        if version is None or placement.stage >= len(version.stages):
            return start_program
        return self._templates.launch_for(version.stages[placement.stage].runtime)

    def _command(self, worker: pb.Worker, placement: pb.Placement) -> list[str]:
        own = {
            "model": placement.model,
            "version": placement.version,
            "stage": placement.stage,
            "device": placement.device,
            "worker_id": worker.id,
            "boot_id": worker.boot_id,
            "restarts": worker.restarts,
            "load_error": worker.load_error,
            "sees_one_device": bool(self._gpus),
            "node": placement.node,
            "fingerprint": placement.fingerprint,
            "revision_id": placement.revision_id,
            "threads": self._threads(),
            "ready_file": None,
            "health_port": None,
        }
        return WorkerSettings.child_command({**dict(self._settings), **own})

    def _threads(self) -> int:
        """Computing threads for one worker: those set, or an even share of the cores."""
        if self._settings.threads is not None:
            return self._settings.threads
        return max(1, machine.cores() // max(1, at_once(self._workers.wanted, self._snapshot)))


def _record(settings: NodeSettings, gpus: Sequence[Gpu]) -> pb.Node:
    return pb.Node(
        id=settings.node or socket.gethostname(),
        host=socket.gethostname(),
        pid=os.getpid(),
        boot_id=uuid.uuid4().hex[:16],
        devices=devices_of_machine(settings.memory_mib, gpus, settings.gpu_memory_mib),
        cores=machine.cores(),
        software=penstock.__version__,
        runs_python=settings.allow_python_models,
        hop_host=settings.hop_host or "",
    )


async def _check_name(registry: Registry, record: pb.Node) -> None:
    """Refuse the name of an agent that lives; one that has just died may be succeeded."""
    snapshot = await registry.snapshot()
    other, member = snapshot.nodes.get(record.id), f"nodes/{record.id}"
    if other is None or member not in snapshot.live:
        return
    if other.host == record.host and not _lives(other.pid):
        return
    await asyncio.sleep(_NAME_CHECK_S)
    if (await registry.snapshot()).seen_ms.get(member) == snapshot.seen_ms.get(member):
        return
    raise InvalidConfiguration(
        f"another node '{record.id}' is running (process {other.pid} on {other.host}): "
        "stop it, or give this one a name with --node"
    )


def _lives(pid: int) -> bool:
    """Whether another process of this machine has this number."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True
