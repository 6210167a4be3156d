"""Composition root of a gateway, and the order in which it ends."""

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import structlog

import penstock
from penstock.clock import Deadline
from penstock.errors import PenstockError
from penstock.gateway import supervisor
from penstock.gateway.delivery.direct.path import DirectPath
from penstock.gateway.delivery.lending import Lender
from penstock.gateway.delivery.pending import PendingTable
from penstock.gateway.delivery.router import JobRouter
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.grpc.cluster_service import ClusterService
from penstock.gateway.fronts.grpc.connections import cut_off
from penstock.gateway.fronts.grpc.health import Health
from penstock.gateway.fronts.grpc.inference_service import SERVICE, Administration, InferenceService
from penstock.gateway.fronts.grpc.server import CLUSTER, bind, build_server, check_port
from penstock.gateway.fronts.grpc.shared_memory import SharedMemory
from penstock.gateway.fronts.http.metrics_endpoint import Held, Scraper, serving_metrics
from penstock.gateway.in_flight import InFlight, all_sent
from penstock.gateway.limits.memory import (
    MemoryLimits,
    MemoryWatch,
    pending_budget,
    warn_if_tight,
)
from penstock.gateway.limits.queue_watch import QueueWatch
from penstock.gateway.limits.unread import UnreadReplies
from penstock.gateway.models.catalog import Catalog
from penstock.gateway.models.control import Control
from penstock.gateway.models.on_demand import OnDemand
from penstock.gateway.models.retirement import Retirement
from penstock.gateway.models.usage import Usage
from penstock.gateway.operations.dead_letters import DeadLetters
from penstock.gateway.operations.live_settings import LiveSettings
from penstock.gateway.operations.tracing import Tracing
from penstock.gateway.replies.shared import KeyTerms, Sharing
from penstock.gateway.requests.infer import Extensions, Inference, InferenceLimits
from penstock.gateway.requests.reading import Reading
from penstock.gateway.requests.shared_memory.regions import Regions
from penstock.gateway.requests.streams import Streams
from penstock.models.config.policies import QueueLimits
from penstock.process import machine
from penstock.process.lifetime import (
    end_process,
    rest_collector,
    stop_signals,
    until_first,
    write_ready,
)
from penstock.process.supervised import supervise
from penstock.protos import cluster_pb2
from penstock.scheduler.jobs.dead_letters import Letters
from penstock.scheduler.jobs.queue import Queue, open_queue
from penstock.scheduler.registry.cluster_settings import ClusterSettings
from penstock.scheduler.registry.load_requests import Wishes
from penstock.scheduler.registry.registry import Registry, keep_announcing, leave
from penstock.scheduler.registry.steadiness import steady
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.store.link import Links
from penstock.settings import GatewaySettings

log = structlog.get_logger()

_TELL_S = 0.2
_SAY_AFTER_S = 5.0
_LEAVE_S = 2.0
_HEARD_AFTER_S = 0.5
"""Whoever watches a gateway's health has heard by then that it is about to go."""


async def run(settings: GatewaySettings) -> None:
    """Serve until told to stop; with several processes, start them and watch over them.

    Raises:
        PortBusy, StoreUnavailable, StoreUnsuitable: it could not begin.
    """
    if settings.processes > 1:
        await supervisor.run(settings)
        return
    if settings.port and not settings.shared_port:
        check_port(settings.host, settings.port)
    async with stop_signals() as stop, Links(settings.redis) as links:
        gateway = await _Gateway.build(settings, links)
        async with serving_metrics(settings, gateway.scraper.scrape):
            server = await gateway.run(stop)
    # A gRPC server that is stopped, or dropped, ends calls on their way to it as CANCELLED, which
    # tells no caller to ask elsewhere. This one refuses by name until its process ends; whoever
    # finds its connection closed then has UNAVAILABLE.
    end_process(server)


async def until_known(
    known: asyncio.Event,
    stop: asyncio.Event,
    tasks: Sequence["asyncio.Task[None]"],
    say_after_s: float = _SAY_AFTER_S,
) -> None:
    """Wait until the registry has been read, and say so while it takes long; or for *stop*.

    Raises:
        Exception: that one of *tasks* ended with.
    """
    knowing = asyncio.create_task(known.wait())
    waited = {knowing, asyncio.create_task(stop.wait()), *tasks}
    try:
        while not (known.is_set() or stop.is_set()):
            done, _ = await asyncio.wait(
                waited, timeout=say_after_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            if not done:
                log.warning("the registry has not been read yet; see the lines above for a reason")
    finally:
        for task in waited - set(tasks):
            task.cancel()


def _catalog(settings: GatewaySettings) -> Catalog:
    return Catalog(QueueLimits(settings.max_queue_jobs, settings.max_queue_mib << 20))


@dataclass(slots=True)
class _Gateway:
    settings: GatewaySettings
    registry: Registry
    record: cluster_pb2.Gateway
    catalog: Catalog
    queue: Queue
    letters: Letters
    pending: PendingTable
    direct: DirectPath
    router: JobRouter
    lender: Lender
    inference: Inference
    queue_watch: QueueWatch
    streams: Streams
    scraper: Scraper
    administration: Administration
    usage: Usage
    replies: ReplyReader
    calls: Calls
    memory: MemoryWatch

    @classmethod
    async def build(cls, settings: GatewaySettings, links: Links) -> "_Gateway":
        queue, registry, catalog = await open_queue(links), Registry(links), _catalog(settings)
        id_ = f"{socket.gethostname()}/{os.getpid()}"
        boot_id = f"gateway-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        lender = Lender(settings.lent_payload_mib << 20)
        direct = DirectPath(queue, boot_id, enabled=settings.direct)
        router = JobRouter(queue, direct, lender)
        pending = PendingTable(queue, boot_id, router)
        memory_limits = MemoryLimits.of(settings, machine.memory_bytes())
        warn_if_tight(memory_limits, settings.max_message_mib)
        memory = MemoryWatch(memory_limits.memory)
        unread = UnreadReplies(memory_limits.unread, cut_off)
        calls = Calls(memory, InFlight(), unread, settings.max_calls, settings.default_timeout_s)
        memory.busy = calls.busy
        held = pending_budget(memory_limits)
        limits = InferenceLimits(settings.default_timeout_s, held)
        tracing = Tracing(settings.trace_file)
        regions = Regions(settings.max_message_mib << 20) if settings.allow_client_shm else None
        queue_watch = QueueWatch(queue, catalog, pending)
        keys = KeyTerms(settings.idempotency_ttl_s, settings.idempotency_bytes)
        sharing = Sharing(queue, pending.next_id, catalog, keys)
        wishes = Wishes(links)
        allow_code = settings.allow_code_overrides
        control = Control(catalog, wishes, settings.max_override_mib, allow_code=allow_code)
        on_demand = OnDemand(catalog, wishes, settings.default_timeout_s)
        extensions = Extensions(tracing, queue_watch, sharing, on_demand)
        reading = Reading(catalog, regions)
        inference = Inference(reading, queue, pending, boot_id, limits, extensions)
        return cls(
            settings,
            registry,
            cluster_pb2.Gateway(
                id=id_,
                boot_id=boot_id,
                host=socket.gethostname(),
                pid=os.getpid(),
                software=penstock.__version__,
            ),
            catalog,
            queue,
            Letters(links, queue.partitions),
            pending,
            direct,
            router,
            lender,
            inference,
            queue_watch,
            Streams(inference, unread, most_unsent_bytes=memory_limits.stream),
            Scraper(catalog, queue, router, Held(pending, lender, held, calls, memory), id_),
            Administration(
                control, LiveSettings(ClusterSettings(links), tracing), SharedMemory(regions)
            ),
            Usage(catalog, pending, on_demand, control, wishes),
            ReplyReader(links, queue.partitions, boot_id, pending.deliver, pending.deliver_chunk),
            calls,
            memory,
        )

    async def run(self, stop: asyncio.Event) -> grpc.aio.Server:
        """Serve until *stop*, then see to the end what has begun; the server refuses all else."""
        health = Health(SERVICE, CLUSTER)
        server = self._server(health)
        port = bind(server, self.settings.host, self.settings.port)
        self.record.address = f"{self.settings.host}:{port}"
        await self.replies.heartbeat()
        known = asyncio.Event()
        tasks = [
            asyncio.create_task(self.replies.run()),
            asyncio.create_task(self.pending.run()),
            asyncio.create_task(self.direct.run()),
            *(asyncio.create_task(supervise(*one)) for one in self._helpers(known)),
        ]
        try:
            await until_known(known, stop, tasks)
            if not stop.is_set():
                await server.start()
                health.say(serving=True)
                log.info("serving", address=self.record.address)
                rest_collector()
                write_ready(self.settings.ready_file, self.record.address)
                await until_first(stop, *tasks)
            await self._drain(health)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.lender.close()
        with contextlib.suppress(PenstockError, TimeoutError):
            # Where a server is silent, this gateway is missed later.
            async with asyncio.timeout(_LEAVE_S):
                await self.replies.heartbeat(leave=True)
        await leave(self.registry, self.record)
        return server

    def _server(self, health: Health) -> grpc.aio.Server:
        return build_server(
            InferenceService(
                self.catalog,
                self.inference,
                self.streams,
                self.administration,
                self.router,
                self.settings.server_name,
                self.calls,
            ),
            ClusterService(
                self.catalog,
                self.registry,
                self.queue,
                self.router,
                DeadLetters(
                    self.letters, self.catalog, self.pending, self.router, self.record.boot_id
                ),
                self.settings.default_timeout_s,
                self.calls.in_flight,
            ),
            health,
            self.calls,
            self.settings,
        )

    def _helpers(
        self, known: asyncio.Event
    ) -> Iterator[tuple[str, Callable[[], Coroutine[Any, Any, None]]]]:
        """What a gateway answers requests without, for a while: by name, and how it is run."""
        retirement = Retirement(self.catalog, self.pending, self.registry, self.record)
        yield "registry watch", partial(self._watch, known)
        yield "retirement", retirement.run
        yield "usage", self.usage.run
        yield "counters", partial(self.pending.counters.run, self.queue)
        yield "queue watch", self.queue_watch.run
        yield "lender", self.lender.run
        yield "memory watch", partial(self.memory.run, self.calls.shed)
        yield "heartbeat", partial(keep_announcing, self.registry, self.record)

    async def _drain(self, health: Health) -> None:
        """New requests go elsewhere, those in flight end.

        The server is not stopped: it goes on refusing by name until the process ends (`run`).
        """
        log.info("draining", pending=len(self.pending))
        deadline = Deadline.after(self.settings.drain_s)
        self.record.draining = True
        health.say(serving=False)
        heard = Deadline.after(_HEARD_AFTER_S)
        self.inference.draining = True
        self.streams.drain()
        if late := await self.calls.in_flight.end(self.settings.drain_s):
            log.warning("requests took longer than --drain-s and were cut off", requests=late)
        if health.watchers:
            await asyncio.sleep(heard.remaining_s())
        await self.pending.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TELL_S):
                await self.pending.counters.tell(self.queue)
        await all_sent(deadline)

    async def _watch(self, known: asyncio.Event) -> None:
        async for snapshot in steady(self.registry.watch()):
            self.administration.settings.update(snapshot)
            self.catalog.update(snapshot)
            self.lender.update(snapshot)
            self.direct.update(snapshot)
            known.set()
