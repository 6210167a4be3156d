"""The publisher: keeps the registry's versions equal to what the model repositories hold.

It publishes all of it, again and again, so that a registry which lost its data is whole again
soon, and a second scheduler changes nothing: at once when something changed or the server may be
another one, and every ten seconds otherwise.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import structlog

from penstock.errors import PenstockError
from penstock.models.config.response_cache import allowed
from penstock.models.files.file_hashes import FileHashes
from penstock.models.files.known_models import KnownModels
from penstock.models.files.repository import Look, look
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.load_requests import SOURCE
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.snapshot import Snapshot, VersionId
from penstock.scheduler.roles.announced import LastAnnounced

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
        self._hashes = FileHashes(waits=False)
        self._known = KnownModels(self._hashes)
        self._unread: dict[VersionId, str] = {}
        self._announced: LastAnnounced[list[pb.ModelVersion]] = LastAnnounced(registry)

    async def run(self) -> None:
        """Publish at a fixed interval until cancelled.

        An outage of Redis, or of the file system, is waited out: what was published stays.
        """
        try:
            while True:
                await asyncio.sleep(self._every_s)
                try:
                    await self.publish()
                except (PenstockError, OSError) as error:
                    log.warning("publishing failed", error=str(error))
        finally:
            self._hashes.close()

    async def publish(self) -> None:
        """Look at the repositories, and publish what is there.

        A version with a large file that is still being read stays as it is published, if it is,
        and holds up no other.

        Raises:
            InvalidConfiguration: a repository cannot be read.
            StoreUnavailable: Redis cannot be reached.
        """
        versions = self._published
        if versions is None or self._follow or self._unread:
            found = await asyncio.to_thread(look, self._models, self._hashes.of, self._known)
            self._known.turn()
            self._hashes.turn()
            versions = allowed(found.versions, self._cache_bytes)
            if found.unread or self._hashes.any_large:
                snapshot = await self._registry.snapshot()
                self._agree_with_others(snapshot)
                versions += _as_published(found, snapshot)
            self._log_once(found)
        if self._announced.is_current(versions):
            return
        with self._announced.announcing(versions):
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

    def _agree_with_others(self, snapshot: Snapshot) -> None:
        """Name large files as older releases do, while a scheduler of one publishes as well.

        Otherwise each would take the other's names for new revisions, again and again.
        """
        others = [one for one in snapshot.live_schedulers() if one.control_mode]
        older = sorted(one.id for one in others if not one.hashes_whole)
        if older and not self._hashes.sampled:
            log.warning(
                "a scheduler of an older release publishes as well: until it is gone, a change in "
                "the middle of a file above 64 MiB may not be seen",
                schedulers=older,
            )
        self._hashes.sampled = bool(older)

    def _log_once(self, found: Look) -> None:
        unread = {VersionId(one.model, one.version): one.reason for one in found.unread}
        for id_ in unread.keys() - self._unread.keys():
            log.info("not published yet", model=id_.model, version=id_.version, why=unread[id_])
        self._unread = unread


def _as_published(found: Look, snapshot: Snapshot) -> list[pb.ModelVersion]:
    """What is published at present of the versions that are not read yet."""
    unread = [VersionId(one.model, one.version) for one in found.unread]
    return [snapshot.versions[id_] for id_ in unread if id_ in snapshot.versions]
