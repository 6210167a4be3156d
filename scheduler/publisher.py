"""The publisher: keeps the registry's versions equal to what the model repositories hold.

It publishes all of it, again and again, so that a registry which lost its data is whole again
after one round, and a second scheduler changes nothing.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import structlog

from penstock.errors import PenstockError
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry import Registry
from penstock.scheduler.repository import scan
from penstock.scheduler.response_cache import allowed
from penstock.scheduler.wishes import SOURCE

log = structlog.get_logger()


class Publisher:
    """Publishes the repositories *models*; when they are not *followed*, as they were at first.

    Args:
        cache_bytes: that the cluster has for cached replies (`response_cache.allowed`).
    """

    def __init__(
        self,
        registry: Registry,
        models: Sequence[Path],
        *,
        every_s: float,
        follow: bool,
        cache_bytes: int,
    ) -> None:
        self._registry = registry
        self._models = models
        self._every_s = every_s
        self._follow = follow
        self._cache_bytes = cache_bytes
        self._published: list[pb.ModelVersion] | None = None

    async def run(self) -> None:
        """Publish at a fixed interval until cancelled.

        An outage of Redis, or of the file system, is waited out: what was published stays.
        """
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.publish()
            except (PenstockError, OSError) as error:
                log.warning("publishing failed", error=str(error))

    async def publish(self) -> None:
        """Look at the repositories, and publish what is there.

        Raises:
            InvalidConfiguration: a repository cannot be read.
            StoreUnavailable: Redis cannot be reached.
        """
        versions = self._published
        if versions is None or self._follow:
            found = await asyncio.to_thread(scan, *self._models)
            versions = allowed(found, self._cache_bytes)
        changed = await self._registry.publish(SOURCE, versions)
        if changed and versions == self._published:
            log.warning(
                "published again: the registry had lost it, or another scheduler has another "
                "repository",
                changed=changed,
            )
        elif changed:
            log.info("published", changed=changed, versions=len(versions))
        self._published = versions
