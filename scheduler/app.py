"""Composition root of a scheduler: it publishes a repository, places shards, and reaps.

Any number of schedulers may run, without a leader: each of their writes is either the same
whoever makes it, or refused to whoever was slower (ADR 0005).
"""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog

import penstock
from penstock.process.lifetime import say_ready, starting, stop_signals, until_first
from penstock.process.supervised import supervise
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.registry.registry import Registry, keep_announcing, leave
from penstock.scheduler.roles.answering import Answerer
from penstock.scheduler.roles.placer import Placer
from penstock.scheduler.roles.publisher import Publisher
from penstock.scheduler.roles.reaper import Reaper
from penstock.scheduler.store.link import Links
from penstock.settings import SchedulerSettings
from penstock.transport.health import telling_health

log = structlog.get_logger()


async def run(settings: SchedulerSettings) -> None:
    """Run a scheduler until told to stop.

    Raises:
        StoreUnavailable, StoreUnsuitable, InvalidConfiguration: it could not begin.
    """
    async with (
        stop_signals() as stop,
        starting(stop) as started,
        telling_health(settings.health_host, settings.health_port) as health,
        Links(settings.redis) as links,
    ):
        queue, registry = await open_queue(links), Registry(links)
        record = _record(settings)
        on_demand = settings.model_control_mode == "on-demand"
        kept = frozenset(settings.load_model) if on_demand else None
        placer = Placer(registry, LoadRequests(links), kept=kept)
        helpers: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "heartbeat": partial(keep_announcing, registry, record),
            "placer": placer.run,
        }
        if settings.models:
            helpers["deployer"] = await _deployer(settings, registry, LoadRequests(links))
        tasks = [asyncio.create_task(supervise(*one)) for one in helpers.items()]
        tasks.append(asyncio.create_task(Reaper(queue).run()))
        started()
        try:
            health.ready = True
            say_ready(settings.ready_file, record.id)
            log.info("scheduling", models=[str(repository) for repository in settings.models])
            await until_first(stop, *tasks)
        finally:
            health.ready = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await leave(registry, record)


def _record(settings: SchedulerSettings) -> pb.Scheduler:
    return pb.Scheduler(
        id=f"{socket.gethostname()}/{os.getpid()}",
        host=socket.gethostname(),
        pid=os.getpid(),
        software=penstock.__version__,
        control_mode=settings.model_control_mode if settings.models else "",
        response_cache_bytes=settings.response_cache_bytes,
        hashes_whole=True,
    )


async def _deployer(
    settings: SchedulerSettings, registry: Registry, load_requests: LoadRequests
) -> Callable[[], Coroutine[Any, Any, None]]:
    """What keeps the right versions published; it has begun already."""
    every_s, cache_bytes = settings.repository_poll_secs, settings.response_cache_bytes
    if settings.model_control_mode in ("explicit", "on-demand"):
        answerer = Answerer(
            registry, load_requests, settings.models, every_s=every_s, cache_bytes=cache_bytes
        )
        await answerer.begin(settings.load_model)
        return answerer.run
    follow = settings.model_control_mode == "poll"
    publisher = Publisher(
        registry, settings.models, every_s=every_s, follow=follow, cache_bytes=cache_bytes
    )
    # Load requests are of no account here, and neither are those of an earlier mode.
    await load_requests.set_available([])
    await publisher.publish()
    return publisher.run
