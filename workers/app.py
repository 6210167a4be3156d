"""Composition root of a worker: load the shard, warm it up, say so, and work."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog

from penstock.errors import ArtifactUnusable, InvalidConfiguration, PenstockError
from penstock.models.completion import Deployment, complete
from penstock.models.config import warmup
from penstock.models.config.model_config import LANGUAGE
from penstock.models.config.python_models import concurrent_requests, is_decoupled
from penstock.models.files.overrides import check_override, lay_out, override_folder
from penstock.models.refs import StageRef
from penstock.process import machine
from penstock.process.lifetime import end_process, freeze_gc, say_ready, starting, stop_signals
from penstock.process.priority import stand_back
from penstock.protos import cluster_pb2 as pb
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.scheduler.jobs.direct import DirectCounters
from penstock.scheduler.jobs.queue import Queue, open_queue
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.snapshot import Snapshot, replica_of
from penstock.scheduler.store.link import Links
from penstock.settings import WorkerSettings
from penstock.transport.health import Health, telling_health
from penstock.workers.calls.caller import Caller
from penstock.workers.language.runtime import LanguageRuntime
from penstock.workers.liveness.exits import BROKEN, CANNOT_LOAD, DRAINED
from penstock.workers.liveness.heartbeat import Heartbeat
from penstock.workers.liveness.record import record_of
from penstock.workers.loading.facts import language_facts, tensor_facts
from penstock.workers.loading.footprint import footprint
from penstock.workers.loading.verify import Copy, wait_for_copy
from penstock.workers.loading.warming import read_samples, warm_up
from penstock.workers.run.execution import Execution
from penstock.workers.run.python_execution import PythonExecution
from penstock.workers.run.reshaping import Reshaping
from penstock.workers.run.triton_execution import TritonExecution
from penstock.workers.runtimes.opening import open_runtime
from penstock.workers.runtimes.python.runtime import PythonRuntime
from penstock.workers.runtimes.runtime import DeviceRef, Runtime
from penstock.workers.runtimes.triton_python.runtime import TritonRuntime
from penstock.workers.serve import batch_times, work_done
from penstock.workers.serve.batching import BatchRules
from penstock.workers.serve.custom_metrics import write_metrics
from penstock.workers.serve.direct_server import DirectServer
from penstock.workers.serve.language.serving import Helper, LanguageServing, Own, beside
from penstock.workers.serve.spec import WorkerSpec
from penstock.workers.serve.streaming.worker import StreamingWorker
from penstock.workers.serve.worker import DeviceBroken, Worker

log = structlog.get_logger()

_MOST_STREAMS = 64
"""Requests that a decoupled model of Triton's contract has under way, as its calls return early."""


async def run(settings: WorkerSettings) -> int:
    """Run one worker until it is told to stop; returns its exit status."""
    stand_back()
    status = DRAINED
    async with (
        stop_signals() as stop,
        starting(stop) as started,
        telling_health(settings.health_host, settings.health_port) as health,
        Links(settings.redis) as links,
    ):
        with _heartbeat(settings) as heartbeat:
            with ThreadPoolExecutor(1, thread_name_prefix="device") as device:
                queue = await open_queue(links)
                started()
                own = settings, links, queue, heartbeat, device
                status = await _load_and_work(*own, stop, health)
            if status != CANNOT_LOAD:
                # Who waits for this worker need not miss it first; a failure stays to be read.
                with contextlib.suppress(PenstockError):
                    await heartbeat.leave()
    return status


def _heartbeat(settings: WorkerSettings) -> Heartbeat:
    pipe, limit_s = settings.heartbeat_fd, settings.run_limit_s
    if pipe is not None:
        os.set_inheritable(pipe, False)
    return Heartbeat(settings.redis, record_of(settings), pipe=pipe, run_limit_s=limit_s)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A shard on its device, and its place in the model."""

    stage: pb.Stage
    deployment: Deployment
    runtime: Runtime
    execution: Execution[Runtime]


async def _load_and_work(
    settings: WorkerSettings,
    links: Links,
    queue: Queue,
    heartbeat: Heartbeat,
    device: ThreadPoolExecutor,
    stop: asyncio.Event,
    health: Health,
) -> int:
    loading = asyncio.create_task(_load(settings, links, heartbeat, device))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not loading.done():
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        with contextlib.suppress(PenstockError):
            await heartbeat.leave()
        # What loads on the device's thread cannot be broken off, and nobody needs it any more.
        end_process(status=DRAINED)
    try:
        loaded = loading.result()
    except (ArtifactUnusable, InvalidConfiguration, OSError) as error:
        # Where a node started it, that says so, once and not at each try.
        say = log.error if settings.heartbeat_fd is None else log.debug
        say("the shard cannot be loaded", reason=str(error))
        await heartbeat.become(pb.WORKER_STATE_FAILED, reason=str(error))
        return CANNOT_LOAD
    link = links.blocking(queue.keys_of(settings.model).tag)
    renewal = heartbeat.renew(settings.model, settings.lease_ms)
    own = Own(heartbeat, renewal, device, link, health)
    if isinstance(loaded, LanguageRuntime):
        return await LanguageServing(settings, loaded, own, queue, links).run(stop)
    return await _work(settings, links, queue, loaded, own, stop)


async def _work(
    settings: WorkerSettings,
    links: Links,
    queue: Queue,
    loaded: _Loaded,
    own: Own,
    stop: asyncio.Event,
) -> int:
    spec = _spec(settings, own.heartbeat.record, loaded)
    async with Caller(links, queue, spec.boot_id) as caller:
        worker = _worker(loaded, spec, queue, own, caller)
        counts = isinstance(loaded.runtime, TritonRuntime)
        async with _ready(settings, own, worker, queue, spec, counts=counts):
            log.info("ready", shard=loaded.stage.artifact, device=settings.device)
            try:
                await worker.run(stop)
            except DeviceBroken as error:
                log.error("the device no longer runs the shard", reason=str(error))  # noqa: TRY400
                return BROKEN
    await asyncio.get_running_loop().run_in_executor(own.device, loaded.runtime.close)
    return DRAINED


@contextlib.asynccontextmanager
async def _ready(
    settings: WorkerSettings,
    own: Own,
    worker: Worker,
    queue: Queue,
    spec: WorkerSpec,
    *,
    counts: bool,
) -> AsyncIterator[None]:
    """Ready, until the end of the block: gateways find it, and read how long its batches take.

    Args:
        counts: the model's code may have metrics of its own.
    """
    heartbeat = own.heartbeat
    server = DirectServer(worker, DirectCounters(queue, spec.ref, spec.boot_id))
    async with server.open(spec.boot_id):
        # A batch that could not be split, here or elsewhere, is the last that requests share.
        worker.on_unsplittable = heartbeat.found_unsplittable
        heartbeat.heed_unsplittable(worker.stop_sharing)
        heartbeat.record.lane = server.name
        heartbeat.record.load_error = ""
        await heartbeat.become(pb.WORKER_STATE_READY)
        freeze_gc()
        heartbeat.has_started()
        own.health.ready = True
        say_ready(settings.ready_file, heartbeat.record.id)
        async with beside(*_writers(worker, queue, spec, counts=counts)):
            try:
                yield
            finally:
                own.health.ready = False


def _writers(
    worker: Worker, queue: Queue, spec: WorkerSpec, *, counts: bool
) -> Iterator[tuple[str, Helper]]:
    """What a worker writes down for others, from time to time: by name, and how it is run."""
    of = queue, spec.ref.model, spec.boot_id
    yield "batch times", partial(batch_times.write_regularly, worker.batch_times, *of)
    yield "work done", partial(work_done.write_regularly, worker.work, *of)
    if counts:
        yield "custom metrics", partial(write_metrics, *of)


async def _load(
    settings: WorkerSettings, links: Links, heartbeat: Heartbeat, device: ThreadPoolExecutor
) -> _Loaded | LanguageRuntime:
    loop = asyncio.get_running_loop()
    async with contextlib.aclosing(Registry(links).watch()) as snapshots:
        version, stage, known = await _stage_of(settings, snapshots, heartbeat)
        heartbeat.record.fingerprint = stage.fingerprint
        heartbeat.record.revision_id = version.revision_id
        ref = _device_of(settings)
        config = ModelConfig.FromString(version.config)
        async with _repositories(settings, version, LoadRequests(links)) as roots:
            copy = await wait_for_copy(roots, version, stage, heartbeat)
            code_of = version if settings.allow_python_models else None
            opening = partial(_opened, _artifact(copy), stage.runtime, ref, config, code_of)
            try:
                runtime = await loop.run_in_executor(device, opening)
                samples = read_samples(config, copy.base / version.model / warmup.FOLDER)
            finally:
                # Also where it could not be loaded: half of a file may have been read.
                copy.check_unchanged()
        if isinstance(runtime, LanguageRuntime):
            kept = known.rebuild_of(version, stage, runtime.numeric_domain)
            finding = partial(language_facts, runtime, kept, heartbeat.record)
        else:
            finding = partial(tensor_facts, runtime, config, stage, ref.kind)
        facts = await loop.run_in_executor(device, finding)
        await heartbeat.become(pb.WORKER_STATE_LOADING, facts=facts)
        deployment = await _deployment_of(version, snapshots, heartbeat)
    if isinstance(runtime, LanguageRuntime):
        return runtime
    loaded = _Loaded(stage, deployment, runtime, execution_of(runtime, deployment, stage))
    warming = partial(warm_up, loaded.execution, deployment, stage, samples)
    warmed = await loop.run_in_executor(device, warming)
    if warmed.unsplittable:
        heartbeat.found_unsplittable(warmed.unsplittable)
    heartbeat.found_footprint(await asyncio.to_thread(footprint, ref.kind))
    return loaded


def _opened(
    artifact: Path,
    runtime: str,
    device: DeviceRef,
    config: ModelConfig,
    code_of: pb.ModelVersion | None,
) -> Runtime | LanguageRuntime:
    """*artifact*, loaded on the thread that is to run it."""
    if runtime == LANGUAGE:
        return LanguageRuntime.open(artifact, config, device)
    return open_runtime(artifact, runtime, device, code_of, config)


def _device_of(settings: WorkerSettings) -> DeviceRef:
    threads, replica = settings.threads or machine.cores(), replica_of(settings.worker_id or "")
    return DeviceRef.parse(settings.device, threads, replica, only=settings.sees_one_device)


async def _stage_of(
    settings: WorkerSettings, snapshots: AsyncIterator[Snapshot], heartbeat: Heartbeat
) -> tuple[pb.ModelVersion, pb.Stage, Snapshot]:
    """What the registry says of the shard; waits until the repository has been published."""
    async for snapshot in snapshots:
        version = snapshot.revision_of(settings.model, settings.version, settings.revision_id)
        if version is None or version.error:
            heartbeat.has_started()
            continue
        if settings.stage >= len(version.stages):
            raise ArtifactUnusable(
                f"{settings.model} version {settings.version} has {len(version.stages)} stage(s); "
                f"there is no stage {settings.stage}"
            )
        stage = version.stages[settings.stage]
        if settings.fingerprint in (None, stage.fingerprint):
            return version, stage, snapshot
    raise AssertionError("watching the registry does not end")


async def _deployment_of(
    version: pb.ModelVersion, snapshots: AsyncIterator[Snapshot], heartbeat: Heartbeat
) -> Deployment:
    """The completed version; waits until each of its stages has been loaded by somebody."""
    async for snapshot in snapshots:
        known = [snapshot.signature_of(version, stage) for stage in version.stages]
        signatures = [signature for signature in known if signature is not None]
        if len(signatures) == len(version.stages):
            proofs = [snapshot.batch_proof_of(version, stage) for stage in version.stages]
            return complete(version, signatures, proofs)
        # Other stages may be waiting for their turn to start.
        heartbeat.has_started()
    raise AssertionError("watching the registry does not end")


@contextlib.asynccontextmanager
async def _repositories(
    settings: WorkerSettings, version: pb.ModelVersion, load_requests: LoadRequests
) -> AsyncIterator[Sequence[Path]]:
    """Where the model's directory may be: on this machine, or as it came with its load request."""
    if not version.files:
        yield settings.models
        return
    with override_folder() as folder:
        await lay_out(load_requests.fetch, folder, version.model, version.files)
        if not settings.allow_code_overrides:
            await asyncio.to_thread(check_override, folder, version)
        yield [folder]


def _artifact(copy: Copy) -> Path:
    artifact = copy.artifact.resolve()
    if not artifact.is_relative_to(copy.base):
        raise ArtifactUnusable(f"{copy.artifact} lies outside the model repository")
    return artifact


def execution_of(runtime: Runtime, deployment: Deployment, stage: pb.Stage) -> Execution[Runtime]:
    """What runs batches of *stage* on *runtime*, which holds its shard."""
    plan = deployment.stages[stage.index]
    names = plan.consumes, plan.produces
    batched = deployment.config.max_batch_size > 0
    reshaping = Reshaping.of(deployment.config, (*plan.consumes, *plan.produces))
    if isinstance(runtime, TritonRuntime):
        return TritonExecution(runtime, *names, batched=batched, reshaping=reshaping)
    if isinstance(runtime, PythonRuntime):
        return PythonExecution(runtime, *names, batched=batched, reshaping=reshaping)
    return Execution(runtime, *names, batched=batched, reshaping=reshaping)


def _worker(loaded: _Loaded, spec: WorkerSpec, queue: Queue, own: Own, caller: Caller) -> Worker:
    execution, config = loaded.execution, loaded.deployment.config
    if isinstance(loaded.runtime, TritonRuntime):
        loaded.runtime.environment.calls = caller
    if isinstance(execution, PythonExecution | TritonExecution) and is_decoupled(config):
        most = _MOST_STREAMS if isinstance(execution, TritonExecution) else 1
        spec = replace(spec, streams=concurrent_requests(config, most))
        return StreamingWorker(spec, queue, own.link, execution, own.renewal, own.device, caller)
    return Worker(spec, queue, own.link, execution, own.renewal, own.device)


def _spec(settings: WorkerSettings, record: pb.Worker, loaded: _Loaded) -> WorkerSpec:
    plan, config = loaded.deployment.stages[settings.stage], loaded.deployment.config
    last = settings.stage == len(loaded.deployment.stages) - 1
    sequences = loaded.deployment.sequences
    return WorkerSpec(
        ref=StageRef(settings.model, settings.version, settings.stage, record.revision_id),
        last=last,
        boot_id=record.boot_id,
        hop_name=f"stage {settings.stage} worker {record.node}:{record.pid}",
        consumes=tuple(plan.consumes),
        # Of a sequence's state only the next request is told.
        keeps=tuple(spec.name for spec in loaded.deployment.outputs) if last else tuple(plan.keeps),
        rules=BatchRules.of(config),
        batched=config.max_batch_size > 0,
        optional=frozenset(s.name for s in loaded.deployment.inputs if s.optional),
        by_parameters=isinstance(loaded.runtime, PythonRuntime),
        lease_ms=settings.lease_ms,
        inputs=loaded.deployment.inputs,
        states=None if sequences is None else sequences.states,
        guessed=loaded.deployment.guessed and sequences is None,
    )
