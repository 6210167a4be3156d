"""Puts a gateway together, starts it, and ends it in order."""

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

import penstock
from penstock.clock import Deadline
from penstock.errors import PenstockError
from penstock.gateway import supervisor
from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.access.identity import Identity
from penstock.gateway.delivery.delivery import Delivery
from penstock.gateway.fronts.asgi import bound
from penstock.gateway.fronts.front import Front
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.grpc.cluster_service import ClusterService
from penstock.gateway.fronts.grpc.connections import all_sent, cut_off
from penstock.gateway.fronts.grpc.inference_service import Administration, InferenceService
from penstock.gateway.fronts.grpc.server import GrpcFront
from penstock.gateway.fronts.grpc.shared_memory import SharedMemory
from penstock.gateway.fronts.http.front import HttpFront
from penstock.gateway.fronts.http.metrics_endpoint import MetricsEndpoint, MetricsReader
from penstock.gateway.fronts.server_certificates import ServerCertificates
from penstock.gateway.limits.memory import (
    SCARCE,
    ByteBudget,
    MemoryLimits,
    MemoryWatch,
    pending_budget,
    warn_if_tight,
)
from penstock.gateway.limits.queue_watch import QueueWatch
from penstock.gateway.limits.read_turns import ReadTurns
from penstock.gateway.limits.unread import UnreadReplies
from penstock.gateway.models.catalog import Catalog
from penstock.gateway.models.control import Control
from penstock.gateway.models.known import until_known
from penstock.gateway.models.on_demand import OnDemand
from penstock.gateway.models.retirement import Retirement
from penstock.gateway.models.usage import Usage
from penstock.gateway.operations.auditing import Auditing
from penstock.gateway.operations.dead_letters import DeadLetters
from penstock.gateway.operations.key_administration import KeyAdministration
from penstock.gateway.operations.key_book import KeyBook
from penstock.gateway.operations.live_settings import LiveSettings
from penstock.gateway.operations.tracing import Tracing
from penstock.gateway.replies.shared import KeyTerms, Sharing
from penstock.gateway.requests.infer import Extensions, Inference
from penstock.gateway.requests.reading import Reading
from penstock.gateway.requests.shared_memory.regions import Regions
from penstock.gateway.requests.streams import Streams
from penstock.models.config.policies import QueueLimits
from penstock.process import machine
from penstock.process.forking.templates import Seed
from penstock.process.lifetime import (
    end_process,
    freeze_gc,
    say_ready,
    starting,
    stop_signals,
    until_first,
)
from penstock.process.supervised import supervise
from penstock.protos import cluster_pb2
from penstock.scheduler.jobs.dead_letters import Letters
from penstock.scheduler.registry.audit import AuditLog
from penstock.scheduler.registry.cluster_settings import ClusterSettings
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.registry.registry import Registry, keep_announcing, leave
from penstock.scheduler.registry.snapshot import Snapshot
from penstock.scheduler.registry.steadiness import steady
from penstock.scheduler.registry.telling import Telling
from penstock.scheduler.store.link import Links
from penstock.settings import GatewaySettings
from penstock.transport.health import Health, telling_health

log = structlog.get_logger()

_TELL_S = 0.2
_LEAVE_S = 2.0


async def run(settings: GatewaySettings, seed: Seed | None = None) -> None:
    """Serve until told to stop; with several processes, start them and watch over them.

    Args:
        seed: what several processes are forked from; None: they are started as programs.

    Raises:
        PortBusy, StoreUnavailable, StoreUnsuitable: it could not begin.
    """
    if settings.processes > 1:
        await supervisor.run(settings, seed)
        return
    # Before gRPC writes lines of its own about a port at which somebody listens.
    if settings.port and not settings.shared_port:
        bound(settings.host, settings.port, "--port").close()
    if settings.admin_port and not settings.shared_port:
        bound(settings.admin_host, settings.admin_port, "--admin-port").close()
    fronts: list[Front] = []
    async with (
        stop_signals() as stop,
        starting(stop) as started,
        telling_health(settings.health_host, settings.health_port) as health,
        Links(settings.redis) as links,
    ):
        gateway = await _Gateway.build(settings, links)
        fronts = await gateway.run(stop, started, health)
    # They are not let go of before: they refuse by name what comes until the process ends.
    end_process(fronts)


def _record() -> cluster_pb2.Gateway:
    host, pid = socket.gethostname(), os.getpid()
    return cluster_pb2.Gateway(
        id=f"{host}/{pid}",
        boot_id=f"gateway-{pid}-{uuid.uuid4().hex[:8]}",
        host=host,
        pid=pid,
        software=penstock.__version__,
    )


def _calls(settings: GatewaySettings, limits: MemoryLimits) -> Calls:
    memory, unread = MemoryWatch(limits.memory), UnreadReplies(limits.unread, cut_off)
    turns = ReadTurns(int(limits.memory * SCARCE), settings.max_message_mib << 20)
    calls = Calls(memory, unread, turns, settings.max_calls, settings.default_timeout_s)
    memory.busy, memory.reading = calls.busy, calls.reading
    return calls


@dataclass(slots=True)
class _Gateway:
    settings: GatewaySettings
    registry: Registry
    record: cluster_pb2.Gateway
    catalog: Catalog
    delivery: Delivery
    inference: Inference
    queue_watch: QueueWatch
    streams: Streams
    administration: Administration
    usage: Usage
    letters: DeadLetters
    keys: KeyAdministration
    calls: Calls
    held: ByteBudget
    identity: Identity
    certificates: ServerCertificates | None = None

    @classmethod
    async def build(cls, settings: GatewaySettings, links: Links) -> "_Gateway":
        record, load_requests = _record(), LoadRequests(links)
        catalog = Catalog(QueueLimits(settings.max_queue_jobs, settings.max_queue_mib << 20))
        delivery = await Delivery.of(settings, links, record.boot_id)
        queue, pending = delivery.queue, delivery.pending
        limits = MemoryLimits.of(settings, machine.memory_bytes())
        warn_if_tight(limits, settings.max_message_mib)
        calls, held = _calls(settings, limits), pending_budget(limits)
        regions = Regions(settings.max_message_mib << 20) if settings.allow_client_shm else None
        tracing, queue_watch = Tracing(settings.trace_file), QueueWatch(queue, catalog, pending)
        keys = KeyTerms(settings.idempotency_ttl_s, settings.idempotency_bytes, settings.resume_s)
        on_demand = OnDemand(catalog, load_requests, settings.default_timeout_s)
        sharing = Sharing(queue, pending.next_id, catalog, keys)
        extensions = Extensions(tracing, queue_watch, sharing, on_demand, load_requests)
        reading, timeout_s = Reading(catalog, regions), settings.default_timeout_s
        inference = Inference(reading, delivery, record.boot_id, held, timeout_s, extensions)
        live, auditing = LiveSettings(ClusterSettings(links), tracing), Auditing(AuditLog(links))
        control = Control(catalog, load_requests, settings)
        administration = Administration(control, live, SharedMemory(regions), auditing)
        letters = Letters(links, queue.partitions)
        return cls(
            settings,
            Registry(links),
            record,
            catalog,
            delivery,
            inference,
            queue_watch,
            Streams(inference, calls.unread, most_unsent_bytes=limits.stream),
            administration,
            Usage(catalog, pending, on_demand, control, load_requests),
            DeadLetters(letters, catalog, delivery, record.boot_id, auditing),
            KeyAdministration(KeyBook(links), auditing),
            calls,
            held,
            Identity.of(settings),
        )

    @property
    def authenticator(self) -> Authenticator:
        """Finds the callers of requests."""
        return self.identity.authenticator

    def fronts(self, known: asyncio.Event) -> list[Front]:
        """Where clients come in; another protocol is another entry (docs/add-a-front.md)."""
        settings, authenticator = self.settings, self.authenticator
        self.certificates = ServerCertificates.of(settings)
        service, cluster = self._inference_service(), self._cluster_service()
        parts = service, cluster, self.calls, authenticator, settings, self.certificates
        grpc = GrpcFront.bound(*parts)
        self.record.address = grpc.address
        fronts: list[Front] = [grpc]
        if settings.admin_port is not None:
            fronts.append(GrpcFront.bound(*parts, administers=True))
        reader = self._metrics_reader()
        if settings.http:
            http = HttpFront(
                service,
                self.inference,
                self.calls,
                settings,
                known,
                authenticator,
                self.certificates,
            )
            if settings.metrics:
                http.with_metrics(reader.read)
            fronts.append(http)
        if settings.metrics:
            fronts.append(MetricsEndpoint(settings, reader.read, authenticator, self.certificates))
        return fronts

    async def run(
        self, stop: asyncio.Event, started: Callable[[], object], health: Health
    ) -> list[Front]:
        """Serve until *stop*, then see to the end what has begun; the fronts refuse all else."""
        known = asyncio.Event()
        fronts = self.fronts(known)
        serving = [front for front in fronts if front.serves_models]
        for front in fronts:
            if front.early:
                await front.start()
        await self.delivery.replies.heartbeat()
        tasks = [
            asyncio.create_task(self.delivery.replies.run()),
            asyncio.create_task(self.delivery.pending.run()),
            asyncio.create_task(self.delivery.direct.run()),
            *(asyncio.create_task(supervise(*one)) for one in self._helpers(known)),
        ]
        started()
        try:
            await until_known(known, stop, tasks)
            if not stop.is_set():
                for front in fronts:
                    if not front.early:
                        await front.start()
                log.info("serving", address=self.record.address)
                freeze_gc()
                health.ready = True
                say_ready(self.settings.ready_file, self.record.address)
                await until_first(stop, *tasks)
            health.ready = False
            await self._drain(serving)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.delivery.lender.close()
        await self._leave()
        return fronts

    def _inference_service(self) -> InferenceService:
        parts = self.catalog, self.inference, self.streams, self.administration
        return InferenceService(*parts, self.delivery.router, self.settings.server_name, self.calls)

    def _cluster_service(self) -> ClusterService:
        parts = self.catalog, self.registry, self.delivery, self.letters, self.keys
        return ClusterService(*parts, self.settings.default_timeout_s, self.calls)

    def _metrics_reader(self) -> MetricsReader:
        parts = self.catalog, self.delivery, self.held, self.calls, self.authenticator
        return MetricsReader(*parts, self._telling(), self.record.id)

    def _telling(self) -> Telling:
        return Telling(self.registry.link, self.record.id)

    def _helpers(
        self, known: asyncio.Event
    ) -> Iterator[tuple[str, Callable[[], Coroutine[Any, Any, None]]]]:
        """What a gateway answers requests without, for a while: by name, and how it is run."""
        pending = self.delivery.pending
        retirement = Retirement(self.catalog, pending, self.registry, self.record)
        yield "registry watch", partial(self._watch, known)
        yield "retirement", retirement.run
        if self.identity.key_sets is not None:
            yield "key sets", self.identity.key_sets.run
        yield "usage", self.usage.run
        yield "counters", partial(pending.counters.run, self.delivery.queue)
        yield "queue watch", self.queue_watch.run
        yield "lender", self.delivery.lender.run
        yield "memory watch", partial(self.calls.memory.run, self.calls.shed)
        if self.certificates is not None:
            yield "certificates", self.certificates.run
        yield "heartbeat", partial(keep_announcing, self.registry, self.record)

    async def _drain(self, fronts: Sequence[Front]) -> None:
        """New requests go elsewhere, those in flight end.

        No front is taken down: each goes on refusing by name until the process ends (`run`).
        """
        pending, within_s = self.delivery.pending, self.settings.drain_s
        log.info("draining", pending=len(pending))
        deadline = Deadline.after(within_s)
        self.record.draining = True
        self.inference.draining = True
        for front in fronts:
            front.stop_accepting()
        self.streams.drain()
        await asyncio.gather(*(front.finish(within_s) for front in fronts))
        await pending.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TELL_S):
                await pending.counters.send(self.delivery.queue)
        await all_sent(deadline)

    async def _leave(self) -> None:
        with contextlib.suppress(PenstockError, TimeoutError):
            # Where a server is silent, this gateway is missed later.
            async with asyncio.timeout(_LEAVE_S):
                await self.delivery.replies.heartbeat(leave=True)
                await self._telling().give_up()
        await leave(self.registry, self.record)

    async def _seen_by_authenticator(self) -> AsyncGenerator[Snapshot, None]:
        """Each snapshot, at once: `steady` may hold one back, and with it a key's end."""
        async for snapshot in self.registry.watch():
            self.authenticator.update(snapshot.access_keys)
            yield snapshot

    async def _watch(self, known: asyncio.Event) -> None:
        async for snapshot in steady(self._seen_by_authenticator()):
            self.administration.settings.update(snapshot)
            self.catalog.update(snapshot)
            self.delivery.pending.give_up(self.catalog.failures(self.delivery.pending.stages()))
            self.delivery.lender.update(snapshot)
            self.delivery.direct.update(snapshot)
            known.set()
