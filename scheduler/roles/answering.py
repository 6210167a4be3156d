"""Answering: a scheduler carries out wishes, where clients say which models are loaded.

It looks at a model's files only when a new wish for the model has come; what changes in the
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

from penstock.errors import PenstockError
from penstock.models.config.ensembles import needs
from penstock.models.config.response_cache import allowed
from penstock.models.files.file_hashes import FileHashes, StillReading
from penstock.models.files.overrides import lay_out, override_folder, scan_override
from penstock.models.files.repository import NO_VERSION, generation_of, names, scan_model
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.scheduler.decisions.readiness import VersionState
from penstock.scheduler.decisions.rollout import rollout
from penstock.scheduler.registry.load_requests import NEEDED, NOT_THERE, Wishes
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.snapshot import Snapshot, VersionId, empty_snapshot

log = structlog.get_logger()


class Answerer:
    """Answers wishes from the repositories *models*.

    Args:
        cache_bytes: that the cluster has for cached replies (`response_cache.allowed`).
    """

    def __init__(
        self,
        registry: Registry,
        wishes: Wishes,
        models: Sequence[Path],
        *,
        every_s: float,
        cache_bytes: int,
    ) -> None:
        self._registry = registry
        self._wishes = wishes
        self._models = models
        self._every_s = every_s
        self._cache_bytes = cache_bytes
        self._last = empty_snapshot()
        self._hashes: dict[str, FileHashes] = {}

    async def begin(self, at_start: Sequence[str]) -> None:
        """Offer what there is, and wish for the models *at_start* that are not loaded.

        Raises:
            InvalidConfiguration: a repository cannot be read.
            StoreUnavailable: Redis cannot be reached.
        """
        offered = await asyncio.to_thread(names, *self._models)
        await self._wishes.offer(offered)
        snapshot = await self._registry.snapshot()
        for model in offered if "*" in at_start else sorted(set(at_start)):
            before = snapshot.wishes.get(model)
            if before is None or before.unload:
                wish = pb.Wish(model=model, id=f"start-{snapshot.now_ms}", time_ms=snapshot.now_ms)
                await self._wishes.wish_instead(before, wish)

    async def run(self) -> None:
        """Answer, and offer what there is, until cancelled; an outage of Redis is waited out."""
        offering = asyncio.create_task(self._offer_regularly())
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

    async def _offer_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._try(self._offer())

    async def _offer(self) -> None:
        offered = await asyncio.to_thread(names, *self._models)
        await self._wishes.offer(offered)
        for model in self._hashes.keys() - set(offered):
            self._hashes.pop(model).close()

    async def _try(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except StillReading as error:
            log.debug("a wish waits", why=str(error))
        except (PenstockError, OSError) as error:
            log.warning("following wishes failed, trying again", error=str(error))
        except Exception:
            # One wish that nobody foresaw holds up no other one.
            log.exception("following wishes failed, trying again")

    async def _restore(self, snapshot: Snapshot) -> None:
        """Wish again for what was wished for, when the registry has lost its data."""
        if snapshot.revision < self._last.revision:
            lost = self._last.wishes.keys() - snapshot.wishes.keys()
            log.warning("the registry lost its data, wishing again", models=sorted(lost))
            await self._offer()
            for model in sorted(lost):
                await self._wishes.wish_instead(None, self._last.wishes[model])
        self._last = snapshot

    async def _answer(self, model: str, snapshot: Snapshot) -> None:
        wish = snapshot.wishes.get(model)
        if wish is None:
            # Published by a scheduler of another mode.
            await self._wishes.answer(model, None, None, [])
            return
        if wish.unload:
            answer = pb.Answer(wish=wish.id, unloaded=unloaded_versions(model, snapshot))
            found: list[pb.ModelVersion] = []
        else:
            found, answer = await self._load(wish, snapshot)
            # First, so that whoever waits for the ensemble sees that they are on their way.
            await self._wish_for_needs(wish.model, found, snapshot)
        changed = await self._wishes.answer(model, wish, answer, found)
        if changed is not None:
            verb = "unloaded" if wish.unload else "loaded"
            log.info("wish answered", model=model, verb=verb, changed=changed, error=answer.error)

    async def _wish_for_needs(
        self, model: str, found: Sequence[pb.ModelVersion], snapshot: Snapshot
    ) -> None:
        """Wish for the models that an ensemble is made of, where nobody has loaded them."""
        for needed in dict.fromkeys(name for record in found for name in needs(record)):
            before = snapshot.wishes.get(needed)
            answer = snapshot.answers.get(needed)
            failed = before is not None and answer is not None and answer.wish == before.id
            failed = failed and answer is not None and bool(answer.error)
            if before is None or before.unload or failed:
                wish = pb.Wish(model=needed, id=uuid.uuid4().hex[:16], time_ms=snapshot.now_ms)
                wish.reason = f"{NEEDED}{model}'"
                await self._wishes.wish_instead(before, wish)

    async def _load(
        self, wish: pb.Wish, snapshot: Snapshot
    ) -> tuple[list[pb.ModelVersion], pb.Answer]:
        """What the wish comes to; what is loaded stays when it cannot be had."""
        answer = pb.Answer(wish=wish.id)
        try:
            found = allowed(await self._found(wish), self._cache_bytes)
        except StillReading:
            # The wish stays without an answer, and is looked at again with the next snapshot.
            raise
        except (PenstockError, DecodeError) as error:
            found, answer.error = [], f"{NOT_THERE}: {error}"
        if not found:
            answer.error = answer.error or NOT_THERE
            return snapshot.versions_of(wish.model), answer
        return renewed(found, rollout(snapshot).newest, snapshot, wish.id), answer

    async def _found(self, wish: pb.Wish) -> list[pb.ModelVersion]:
        config = None
        if wish.HasField("config"):
            config = config_pb.ModelConfig.FromString(wish.config)
        if config is None or not wish.files:
            hashes = self._hashes.setdefault(wish.model, FileHashes(waits=False))
            found = await asyncio.to_thread(scan_model, self._models, wish.model, config, hashes.of)
            hashes.turn()
            return found
        with override_folder() as folder:
            await lay_out(self._wishes.fetch, folder, wish.model, wish.files)
            return await asyncio.to_thread(scan_override, folder, wish.model, config, wish.files)


def unanswered(snapshot: Snapshot) -> list[str]:
    """Models that are wished for otherwise than they are, or published without a wish."""
    asked = {
        model
        for model, wish in snapshot.wishes.items()
        if model not in snapshot.answers or snapshot.answers[model].wish != wish.id
    }
    unasked = {id_.model for id_ in snapshot.versions} - snapshot.wishes.keys()
    return sorted(asked | unasked)


def unloaded_versions(model: str, snapshot: Snapshot) -> list[int]:
    """The versions that an unload of *model* ends; those that the last one ended, if none is."""
    published = [one.version for one in snapshot.versions_of(model) if one.version != NO_VERSION]
    before = snapshot.answers.get(model)
    return published or (list(before.unloaded) if before is not None else [])


def renewed(
    found: Sequence[pb.ModelVersion],
    newest: Mapping[VersionId, VersionState],
    snapshot: Snapshot,
    wish: str,
) -> list[pb.ModelVersion]:
    """*found*, with another generation for a content that has failed: it gets new workers."""
    made: list[pb.ModelVersion] = []
    for record in found:
        id_ = VersionId(record.model, record.version)
        there = snapshot.versions.get(id_)
        fingerprints = [stage.fingerprint for stage in record.stages]
        again = pb.ModelVersion()
        again.CopyFrom(record)
        unchanged = there is not None and fingerprints == [s.fingerprint for s in there.stages]
        if there is not None and unchanged and fingerprints:
            again.generation = there.generation
            state = newest[id_]
            if state.state == "UNAVAILABLE" and not state.crowded:
                again.generation = generation_of([*fingerprints, wish])
        made.append(again)
    return made
