"""Answering: a scheduler carries out load requests, where clients say which models are loaded.

It looks at a model's files only when a new load request for the model has come; what changes in the
repository meanwhile is of no account until somebody loads the model again.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from google.protobuf.message import DecodeError

from penstock.errors import PenstockError, StoreUnavailable
from penstock.models.config.ensembles import needs
from penstock.models.config.response_cache import allowed
from penstock.models.files.file_hashes import FileHashes, StillReading
from penstock.models.files.overrides import lay_out, override_folder, scan_override
from penstock.models.files.repository import NO_VERSION, names, revision_id_of, scan_model
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.scheduler.decisions.readiness import VersionState
from penstock.scheduler.decisions.rollout import rollout
from penstock.scheduler.registry.load_requests import NEEDED, NOT_THERE, LoadRequests
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.snapshot import Snapshot, VersionId, empty_snapshot
from penstock.scheduler.roles.announced import LastAnnounced

log = structlog.get_logger()


class Answerer:
    """Answers load requests from the repositories *models*.

    Args:
        cache_bytes: that the cluster has for cached replies (`response_cache.allowed`).
    """

    def __init__(
        self,
        registry: Registry,
        load_requests: LoadRequests,
        models: Sequence[Path],
        *,
        every_s: float,
        cache_bytes: int,
    ) -> None:
        self._registry = registry
        self._load_requests = load_requests
        self._models = models
        self._every_s = every_s
        self._cache_bytes = cache_bytes
        self._last = empty_snapshot()
        self._hashes: dict[str, FileHashes] = {}
        self._announced: LastAnnounced[list[str]] = LastAnnounced(registry)

    async def begin(self, at_start: Sequence[str]) -> None:
        """Offer what there is, and ask for the models *at_start* that are not loaded.

        Raises:
            InvalidConfiguration: a repository cannot be read.
            StoreUnavailable: Redis cannot be reached.
        """
        offered = await asyncio.to_thread(names, *self._models)
        await self._load_requests.set_available(offered)
        snapshot = await self._registry.snapshot()
        for model in offered if "*" in at_start else sorted(set(at_start)):
            before = snapshot.load_requests.get(model)
            if before is None or before.unload:
                load_request = pb.LoadRequest(
                    model=model, id=f"start-{snapshot.now_ms}", time_ms=snapshot.now_ms
                )
                await self._load_requests.replace(before, load_request)

    async def run(self) -> None:
        """Answer, and offer what there is, until cancelled; an outage of Redis is waited out."""
        offering = asyncio.create_task(self._look_regularly())
        try:
            async with contextlib.aclosing(self._registry.watch()) as snapshots:
                async for snapshot in snapshots:
                    await self._try(self._restore(snapshot))
                    for model in unanswered(snapshot):
                        await self._try(self._answer(model, snapshot))
        finally:
            for hashes in self._hashes.values():
                hashes.close()
            offering.cancel()
            await asyncio.gather(offering, return_exceptions=True)

    async def _look_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._try(self._set_available())

    async def _set_available(self, *, anyway: bool = False) -> None:
        """Offer what there is; unless *anyway*, what was said lately over the link stands."""
        offered = await asyncio.to_thread(names, *self._models)
        if not anyway and self._announced.is_current(offered):
            return
        with self._announced.announcing(offered):
            await self._load_requests.set_available(offered)
        for model in self._hashes.keys() - set(offered):
            self._hashes.pop(model).close()

    async def _try(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except StillReading as error:
            log.debug("a load request waits", why=str(error))
        except (PenstockError, OSError) as error:
            log.warning("following load requests failed, trying again", error=str(error))
        except Exception:
            # One load request that nobody foresaw holds up no other one.
            log.exception("following load requests failed, trying again")

    async def _restore(self, snapshot: Snapshot) -> None:
        """Ask again for what was loaded, when the registry has lost its data."""
        if snapshot.revision < self._last.revision:
            lost = self._last.load_requests.keys() - snapshot.load_requests.keys()
            log.warning("the registry lost its data, loading again", models=sorted(lost))
            await self._set_available(anyway=True)
            for model in sorted(lost):
                await self._load_requests.replace(None, self._last.load_requests[model])
        self._last = snapshot

    async def _answer(self, model: str, snapshot: Snapshot) -> None:
        load_request = snapshot.load_requests.get(model)
        if load_request is None:
            # Published by a scheduler of another mode.
            await self._load_requests.answer(model, None, None, [])
            return
        if load_request.unload:
            answer = pb.LoadResult(
                load_request=load_request.id, unloaded=unloaded_versions(model, snapshot)
            )
            found: list[pb.ModelVersion] = []
        else:
            found, answer = await self._load(load_request, snapshot)
            # First, so that whoever waits for the ensemble sees that they are on their way.
            await self._load_needs(load_request.model, found, snapshot)
        changed = await self._load_requests.answer(model, load_request, answer, found)
        if changed is not None:
            verb = "unloaded" if load_request.unload else "loaded"
            log.info(
                "load request answered", model=model, verb=verb, changed=changed, error=answer.error
            )

    async def _load_needs(
        self, model: str, found: Sequence[pb.ModelVersion], snapshot: Snapshot
    ) -> None:
        """Ask for the models that an ensemble is made of, where nobody has loaded them."""
        for needed in dict.fromkeys(name for record in found for name in needs(record)):
            before = snapshot.load_requests.get(needed)
            answer = snapshot.result_of(needed)
            failed = answer is not None and bool(answer.error)
            if before is None or before.unload or failed:
                load_request = pb.LoadRequest(
                    model=needed,
                    id=uuid.uuid4().hex[:16],
                    time_ms=snapshot.now_ms,
                    reason=f"{NEEDED}{model}'",
                )
                await self._load_requests.replace(before, load_request)

    async def _load(
        self, load_request: pb.LoadRequest, snapshot: Snapshot
    ) -> tuple[list[pb.ModelVersion], pb.LoadResult]:
        """What the load request comes to; what is loaded stays when it cannot be had."""
        answer = pb.LoadResult(load_request=load_request.id)
        try:
            found = allowed(await self._found(load_request), self._cache_bytes)
        except (StillReading, StoreUnavailable):
            # It stays without an answer, and is looked at again with the next snapshot.
            raise
        except (PenstockError, DecodeError, OSError) as error:
            found, answer.error = [], f"{NOT_THERE}: {error}"
        except Exception as error:
            # A defect, which would be met at each look: it ends this load request, and no other.
            log.exception("a load request cannot be carried out", model=load_request.model)
            found, answer.error = [], f"{NOT_THERE}: {type(error).__name__}: {error}"
        if not found:
            answer.error = answer.error or NOT_THERE
            return snapshot.versions_of(load_request.model), answer
        return renewed(found, rollout(snapshot).newest, snapshot, load_request.id), answer

    async def _found(self, load_request: pb.LoadRequest) -> list[pb.ModelVersion]:
        config = None
        if load_request.HasField("config"):
            config = config_pb.ModelConfig.FromString(load_request.config)
        if config is None or not load_request.files:
            hashes = self._hashes.setdefault(load_request.model, FileHashes(waits=False))
            found = await asyncio.to_thread(
                scan_model, self._models, load_request.model, config, hashes.of
            )
            hashes.turn()
            return found
        with override_folder() as folder:
            await lay_out(self._load_requests.fetch, folder, load_request.model, load_request.files)
            return await asyncio.to_thread(
                scan_override, folder, load_request.model, config, load_request.files
            )


def unanswered(snapshot: Snapshot) -> list[str]:
    """Models whose latest load request has no answer, or that are published without one."""
    asked = {model for model in snapshot.load_requests if snapshot.result_of(model) is None}
    unasked = {id_.model for id_ in snapshot.versions} - snapshot.load_requests.keys()
    return sorted(asked | unasked)


def unloaded_versions(model: str, snapshot: Snapshot) -> list[int]:
    """The versions that an unload of *model* ends; those that the last one ended, if none is."""
    published = [one.version for one in snapshot.versions_of(model) if one.version != NO_VERSION]
    before = snapshot.load_results.get(model)
    return published or (list(before.unloaded) if before is not None else [])


def renewed(
    found: Sequence[pb.ModelVersion],
    newest: Mapping[VersionId, VersionState],
    snapshot: Snapshot,
    load_request: str,
) -> list[pb.ModelVersion]:
    """*found*, with another revision_id for a revision that has failed: it gets new workers."""
    made: list[pb.ModelVersion] = []
    for record in found:
        id_ = VersionId(record.model, record.version)
        there = snapshot.versions.get(id_)
        fingerprints = [stage.fingerprint for stage in record.stages]
        again = pb.ModelVersion()
        again.CopyFrom(record)
        unchanged = there is not None and fingerprints == [s.fingerprint for s in there.stages]
        if there is not None and unchanged and fingerprints:
            again.revision_id = there.revision_id
            state = newest[id_]
            if state.state == "UNAVAILABLE" and not state.crowded:
                again.revision_id = revision_id_of([*fingerprints, load_request])
        made.append(again)
    return made
