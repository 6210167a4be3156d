"""Serving a loaded language model: ready, until it is to stop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import structlog

from penstock.models.config.language_models import TOKENS_INPUT, TOKENS_OUTPUT
from penstock.models.refs import StageRef
from penstock.process.lifetime import freeze_gc, say_ready
from penstock.process.supervised import supervise
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.store.link import Link
from penstock.settings import WorkerSettings
from penstock.transport.health import Health
from penstock.workers.language.runtime import LanguageRuntime
from penstock.workers.liveness.exits import BROKEN, DRAINED
from penstock.workers.liveness.heartbeat import Heartbeat
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.loading.footprint import footprint
from penstock.workers.serve.batching import BatchRules
from penstock.workers.serve.language.texts import keep_texts
from penstock.workers.serve.language.worker import LanguageWorker
from penstock.workers.serve.spec import WorkerSpec
from penstock.workers.serve.work_done import write_regularly
from penstock.workers.serve.worker import DeviceBroken

log = structlog.get_logger()

_CPU = "cpu"


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


async def serve_language(
    settings: WorkerSettings,
    runtime: LanguageRuntime,
    own: Own,
    queue: Queue,
    load_requests: LoadRequests,
    stop: asyncio.Event,
) -> int:
    """Answer until *stop*; returns the process's exit status."""
    heartbeat = own.heartbeat
    spec = _spec(settings, heartbeat.record)
    worker = LanguageWorker(spec, queue, own.link, runtime.model, own.renewal, own.device)
    writing = partial(write_regularly, worker.work, queue, settings.model, spec.boot_id)
    keeping = [
        asyncio.create_task(supervise("texts", partial(keep_texts, load_requests, runtime.texts))),
        asyncio.create_task(supervise("work done", writing)),
    ]
    try:
        held = await asyncio.to_thread(footprint, _CPU)
        heartbeat.found_footprint(held + runtime.model.cache_bytes)
        heartbeat.record.load_error = ""
        await heartbeat.become(pb.WORKER_STATE_READY)
        freeze_gc()
        heartbeat.has_started()
        own.health.ready = True
        say_ready(settings.ready_file, heartbeat.record.id)
        log.info("ready", slots=runtime.model.slots, device=settings.device)
        await worker.run(stop)
    except DeviceBroken as error:
        log.error("the device no longer runs the model", reason=str(error))  # noqa: TRY400
        return BROKEN
    finally:
        own.health.ready = False
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
    return DRAINED


def _spec(settings: WorkerSettings, record: pb.Worker) -> WorkerSpec:
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
    )
