"""Serving a loaded stage of a language model: alone, as the head of a group, or in one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from penstock.errors import InvalidConfiguration
from penstock.language.rebuild import Rebuild
from penstock.models.config.language_models import TOKENS_INPUT, TOKENS_OUTPUT
from penstock.models.refs import StageRef
from penstock.process.lifetime import freeze_gc, say_ready, until_first
from penstock.process.supervised import supervise
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.link import Link, Links
from penstock.settings import WorkerSettings
from penstock.transport.health import Health
from penstock.workers.language.engine import Caches
from penstock.workers.language.head import GroupBroken, Head
from penstock.workers.language.later import LaterStage
from penstock.workers.language.message import most_bytes
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.language.runtime import LanguageRuntime, caches_prefixes
from penstock.workers.liveness.exits import BROKEN, CANNOT_LOAD, DRAINED
from penstock.workers.liveness.heartbeat import Heartbeat
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.loading.footprint import footprint, with_cache
from penstock.workers.runtimes.runtime import DeviceRef
from penstock.workers.serve.batching import BatchRules
from penstock.workers.serve.language.dialer import Dialer
from penstock.workers.serve.language.forming import Forming, either
from penstock.workers.serve.language.stage_server import StageServer
from penstock.workers.serve.language.texts import keep_texts
from penstock.workers.serve.language.worker import LanguageWorker
from penstock.workers.serve.spec import WorkerSpec
from penstock.workers.serve.work_done import WorkMeter, write_regularly
from penstock.workers.serve.worker import DeviceBroken

if TYPE_CHECKING:
    from penstock.workers.serve.language.hop_streams import HopStreams

log = structlog.get_logger()

Helper = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Own:
    """What a worker process has of its own.

    Attributes:
        device: the one thread that computes.
        link: for claims, which block it.
        health: says whether it serves.
    """

    heartbeat: Heartbeat
    renewal: Renewal
    device: ThreadPoolExecutor
    link: Link
    health: Health


class LanguageServing:
    """A loaded stage of a language model, at work: alone, as the head of a group, or in one."""

    def __init__(
        self,
        settings: WorkerSettings,
        runtime: LanguageRuntime,
        own: Own,
        queue: Queue,
        links: Links,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._own = own
        self._queue = queue
        self._links = links
        self._has_been_ready = False

    async def run(self, stop: asyncio.Event) -> int:
        """Serve until *stop*; returns the process's exit status."""
        kind, runtime = DeviceRef.parse(self._settings.device, threads=1).kind, self._runtime
        held = await asyncio.to_thread(footprint, kind)
        weights, cache = runtime.signature.parameter_bytes, runtime.stage.cache_bytes
        self._own.heartbeat.found_footprint(with_cache(kind, held, weights, cache))
        try:
            await (self._serve_jobs(stop) if self._runtime.begins else self._serve_head(stop))
        except InvalidConfiguration as error:
            log.error("workers on other machines cannot be reached", reason=str(error))  # noqa: TRY400
            await self._own.heartbeat.become(pb.WORKER_STATE_FAILED, reason=str(error))
            return CANNOT_LOAD
        except DeviceBroken as error:
            log.error("the device no longer runs the model", reason=str(error))  # noqa: TRY400
            return BROKEN
        finally:
            self._own.health.ready = False
        return DRAINED

    async def _serve_jobs(self, stop: asyncio.Event) -> None:
        """As the only stage, or as a head."""
        own, runtime = self._own, self._runtime
        spec = _spec(self._settings, own.heartbeat.record, preempts=runtime.has_levels)
        manifest = runtime.manifest
        worker = LanguageWorker(spec, self._queue, own.link, manifest, own.renewal, own.device)
        kept = asyncio.Event()
        texts = partial(keep_texts, LoadRequests(self._links), runtime.texts, kept)
        async with beside(("texts", texts), ("work done", self._writing(worker.work))):
            async with either(stop, kept) as over:
                await over.wait()
            if (structured := runtime.structured) is not None:
                await self._be_ready()
                model = Pipeline(manifest, [runtime.stage], runtime.slots, structured)
                await worker.run(model, stop, caches=self._caches(runtime.rebuild))
            else:
                await self._lead(worker, stop)

    async def _lead(self, worker: LanguageWorker, stop: asyncio.Event) -> None:
        """As the head of one group after the other."""
        runtime, own = self._runtime, self._own
        stages, silence_s = len(runtime.manifest.stages), self._settings.lease_ms / 1000
        record, streams = own.heartbeat.record, self._streams()
        dialer = Dialer(record.memory_domain, streams)
        forming = Forming(Registry(self._links), record, stages, silence_s, dialer)
        async with beside(*_running(streams)):
            while (group := await forming.form(self._wait, stop)) is not None:
                try:
                    await self._be_ready()
                    async with either(stop, group.leaving) as over:
                        head = Head(runtime.stage, runtime.slots, group)
                        caches = self._caches(group.rebuild)
                        await worker.run(head, over, group.breaks(), caches)
                except GroupBroken as error:
                    log.warning("the group is broken, it forms anew", why=str(error))
                finally:
                    group.close()

    def _caches(self, rebuild: Rebuild) -> Caches:
        if rebuild is Rebuild.NONE:
            log.warning(
                "a lost cache does not come back equal to the bit here: an answer that goes on "
                "after a worker's death may say what it would not have said"
            )
        asked, hears = self._runtime.prefix_caching, self._runtime.manifest.speech is not None
        return Caches(rebuild, caches_prefixes(rebuild, asked, hears=hears))

    async def _serve_head(self, stop: asyncio.Event) -> None:
        """As a later stage."""
        own, runtime = self._own, self._runtime
        record, streams = own.heartbeat.record, self._streams()
        stage = LaterStage(runtime.stage, runtime.slots, runtime.structured)
        dialer = Dialer(record.memory_domain, streams)
        server = StageServer(stage, record.boot_id, own.device, own.renewal, dialer)
        helpers = ("work done", self._writing(server.work)), *_running(streams)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(beside(*helpers))
            if streams is not None:
                listening = streams.listening(server.caller)
                record.hop_address = await stack.enter_async_context(listening)
            await stack.enter_async_context(server.open())
            await self._be_ready()
            try:
                await until_first(stop, server.broken)
            except Exception as error:
                raise DeviceBroken(str(error)) from error

    def _streams(self) -> "HopStreams | None":
        """The way to other machines, if there is one."""
        if self._settings.hop_host is None:
            return None
        # gRPC takes memory and time that workers of one machine do without.
        from penstock.workers.serve.language.hop_streams import HopStreams

        stage = self._runtime.stage
        most = most_bytes(self._runtime.slots, stage.capacity, stage.width)
        return HopStreams.of(self._settings, most)

    def _writing(self, work: WorkMeter) -> Helper:
        boot_id = self._own.heartbeat.record.boot_id
        return partial(write_regularly, work, self._queue, self._settings.model, boot_id)

    async def _be_ready(self) -> None:
        heartbeat = self._own.heartbeat
        heartbeat.record.load_error = ""
        await heartbeat.become(pb.WORKER_STATE_READY)
        self._own.health.ready = True
        if self._has_been_ready:
            return
        self._has_been_ready = True
        freeze_gc()
        heartbeat.has_started()
        say_ready(self._settings.ready_file, heartbeat.record.id)
        slots, computes_on = self._runtime.slots, self._runtime.numeric_domain
        log.info("ready", slots=slots, device=self._settings.device, computes_on=computes_on)

    async def _wait(self, reason: str) -> None:
        """It has loaded, and cannot serve yet; others are told why."""
        heartbeat = self._own.heartbeat
        self._own.health.ready = False
        # Others may be waiting for their turn to start, those that it waits for too.
        heartbeat.has_started()
        record = heartbeat.record
        if (record.state, record.reason) != (pb.WORKER_STATE_LOADING, reason):
            await heartbeat.become(pb.WORKER_STATE_LOADING, reason=reason)


def _running(streams: "HopStreams | None") -> list[tuple[str, Helper]]:
    return [] if streams is None else [("hops", streams.run)]


@contextlib.asynccontextmanager
async def beside(*tasks: tuple[str, Helper]) -> AsyncIterator[None]:
    """Helper tasks, by name, until the end of the block."""
    running = [asyncio.create_task(supervise(*task)) for task in tasks]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _spec(settings: WorkerSettings, record: pb.Worker, *, preempts: bool) -> WorkerSpec:
    return WorkerSpec(
        ref=StageRef(settings.model, settings.version, settings.stage, record.revision_id),
        last=True,
        boot_id=record.boot_id,
        hop_name=f"stage {settings.stage} worker {record.node}:{record.pid}",
        consumes=(TOKENS_INPUT,),
        keeps=(TOKENS_OUTPUT,),
        rules=BatchRules(most_rows=1),
        batched=False,
        optional=frozenset(),
        by_parameters=False,
        lease_ms=settings.lease_ms,
        preempts=preempts,
    )
