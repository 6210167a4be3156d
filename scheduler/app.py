"""Composition root of a scheduler: it publishes a repository, places shards, and reaps.

Any number of schedulers may run, without a leader: each of their writes is either the same
whoever makes it, or refused to whoever was slower (ADR 0005).
"""

import asyncio
import os
import socket

import structlog

import penstock
from penstock.lifetime import stop_signals, until_first, write_ready
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.keyspace import open_queue
from penstock.scheduler.link import Links
from penstock.scheduler.placer import Placer
from penstock.scheduler.publisher import Publisher
from penstock.scheduler.reaper import Reaper
from penstock.scheduler.registry import Registry, keep_announcing, leave
from penstock.settings import SchedulerSettings

log = structlog.get_logger()


async def run(settings: SchedulerSettings) -> None:
    """Run a scheduler until told to stop.

    Raises:
        StoreUnavailable, StoreUnsuitable, InvalidConfiguration: it could not begin.
    """
    async with stop_signals() as stop, Links(settings.redis) as links:
        queue, registry = await open_queue(links), Registry(links)
        record = pb.Scheduler(
            id=f"{socket.gethostname()}/{os.getpid()}",
            host=socket.gethostname(),
            pid=os.getpid(),
            software=penstock.__version__,
            control_mode=settings.model_control_mode if settings.models else "",
        )
        work = [keep_announcing(registry, record), Placer(registry).run(), Reaper(queue).run()]
        if settings.models:
            publisher = Publisher(
                registry,
                settings.models,
                every_s=settings.repository_poll_secs,
                follow=settings.model_control_mode == "poll",
            )
            await publisher.publish()
            work.append(publisher.run())
        tasks = [asyncio.create_task(part) for part in work]
        try:
            write_ready(settings.ready_file, record.id)
            log.info("scheduling", models=[str(repository) for repository in settings.models])
            await until_first(stop, *tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await leave(registry, record)
