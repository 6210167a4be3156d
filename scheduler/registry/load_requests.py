"""Wishes: models that clients want loaded or unloaded, and what comes of it.

A gateway writes a wish, a scheduler that has the repository answers it by publishing versions, or
by saying why not; both are facts in the registry, and the latest wish for a model counts. Files
that come with a wish are kept in Redis under their digest, and fetched by whoever needs them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from penstock.errors import ArtifactUnusable
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.changes import CHANGES_KEPT
from penstock.scheduler.registry.records import as_bytes, named
from penstock.scheduler.registry.snapshot import Snapshot
from penstock.scheduler.store import scripts
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links

SOURCE: Final = "repository"
"""The one name under which all schedulers publish: they are to see the same repositories."""

NOT_THERE: Final = "failed to poll from model repository"
"""Triton's words for a model that the repository does not have."""

NEEDED: Final = "needed by ensemble '"
"""How the reason begins of a wish for a model that an ensemble is made of."""

UNWISHED_MS: Final = 600_000
"""Contents whose wish never came go after this time."""

_STALE_MS: Final = 60_000
_PIECE_BYTES: Final = 1 << 20

_KEEP = scripts.load("registry_keep")
_WISH = scripts.load("registry_wish")
_ANSWER = scripts.load("registry_answer")
_OFFER = scripts.load("registry_offer")
_USE = scripts.load("registry_use")
_TIDY = scripts.load("registry_tidy")


class Wishes:
    """The wishes behind *links*; errors of each method as for `Link.call`."""

    def __init__(self, links: Links) -> None:
        self._link = links.to(RegistryKeys.tag)

    async def wish(self, wish: pb.Wish) -> None:
        """Make *wish* the one that counts for its model.

        Raises:
            ArtifactUnusable: the content of one of its files is not there: `keep` it again.
        """
        await self._wish(wish, "*")

    async def wish_instead(self, before: pb.Wish | None, wish: pb.Wish) -> bool:
        """As `wish`, unless another one than *before* counts; returns whether it does now."""
        return await self._wish(wish, as_bytes(before) if before is not None else "")

    async def _wish(self, wish: pb.Wish, before: str | bytes) -> bool:
        files: list[str | int] = []
        for file in wish.files:
            files += (file.digest, file.size)
        answer = await self._link.call(
            _WISH,
            (
                RegistryKeys.wishes,
                RegistryKeys.files,
                RegistryKeys.changes,
                *(RegistryKeys.contents + file.digest for file in wish.files),
            ),
            (
                wish.model,
                as_bytes(wish),
                CHANGES_KEPT,
                "model.unload" if wish.unload else "model.load",
                wish.reason,
                before,
                *files,
            ),
        )
        if int(answer) < 0:
            raise _lost(wish.files[-int(answer) - 1])
        return bool(answer)

    async def answer(
        self,
        model: str,
        wish: pb.Wish | None,
        answer: pb.Answer | None,
        versions: Sequence[pb.ModelVersion],
    ) -> int | None:
        """Make *versions* all that there is of *model*, as *wish* wants it.

        Returns how many contents were new, changed or gone; None when another wish counts by now.
        """
        found = await self._link.call(
            _ANSWER,
            (
                RegistryKeys.versions,
                RegistryKeys.retiring,
                RegistryKeys.since,
                RegistryKeys.wishes,
                RegistryKeys.answers,
                RegistryKeys.changes,
            ),
            (
                SOURCE,
                CHANGES_KEPT,
                model,
                as_bytes(wish) if wish is not None else "",
                as_bytes(answer) if answer is not None else "",
                *named(versions),
            ),
        )
        return None if found is None else int(found)

    async def offer(self, models: Iterable[str]) -> int:
        """Make *models* all that can be wished for; returns how many names came or went."""
        keys = (RegistryKeys.offers, RegistryKeys.changes)
        return int(await self._link.call(_OFFER, keys, (CHANGES_KEPT, *models)))

    async def use(self, ago_ms: Mapping[str, int]) -> None:
        """Say how long ago the latest request for each model was."""
        words: list[str | int] = []
        for model, ago in ago_ms.items():
            words += (model, ago)
        await self._link.call(_USE, (RegistryKeys.used,), words)

    async def tidy(self, snapshot: Snapshot) -> int:
        """Forget wishes for models that are gone, and contents that nobody needs."""
        models, digests = stale_wishes(snapshot), stale_files(snapshot)
        if not models and not digests:
            return 0
        words: list[str | bytes | int] = [len(models)]
        for model in models:
            words += (model, as_bytes(snapshot.wishes[model]))
        for digest in digests:
            words += (digest, snapshot.files[digest])
        keys = (
            RegistryKeys.wishes,
            RegistryKeys.answers,
            RegistryKeys.files,
            RegistryKeys.used,
            RegistryKeys.contents,
        )
        return int(await self._link.call(_TIDY, keys, words))

    async def keep(self, content: bytes) -> str:
        """Keep *content* for a wish that is about to come; returns its digest."""
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        key = RegistryKeys.contents + digest
        # In pieces: others use the same connection, and must not wait long.
        for start in range(0, len(content), _PIECE_BYTES):
            piece = content[start : start + _PIECE_BYTES]
            await self._link.call(_KEEP, (key,), (start, piece, UNWISHED_MS))
        return digest

    async def fetch(self, file: pb.File) -> bytes:
        """The content of *file*.

        Raises:
            ArtifactUnusable: it is not there any more.
        """
        key, pieces = RegistryKeys.contents + file.digest, []
        for start in range(0, file.size, _PIECE_BYTES):
            end = min(start + _PIECE_BYTES, file.size) - 1
            pieces.append(await self._link.command("GETRANGE", key, start, end))
        content = b"".join(pieces)
        if hashlib.blake2b(content, digest_size=16).hexdigest() != file.digest:
            raise _lost(file)
        return content


def stale_wishes(snapshot: Snapshot) -> list[str]:
    """Models whose wish means nothing: it is old, and they are neither offered nor there."""
    there = {content.model for content in snapshot.contents()} | snapshot.offers
    return sorted(
        model
        for model, wish in snapshot.wishes.items()
        if model not in there
        and model in snapshot.answers
        and snapshot.now_ms - wish.time_ms > _STALE_MS
    )


def stale_files(snapshot: Snapshot) -> list[str]:
    """Digests of contents that belong to no wish and to nothing that runs."""
    needed = {file.digest for wish in snapshot.wishes.values() for file in wish.files}
    needed |= {file.digest for record in snapshot.contents() for file in record.files}
    return sorted(set(snapshot.files) - needed)


def _lost(file: pb.File) -> ArtifactUnusable:
    return ArtifactUnusable(
        f"the content of {file.path} that came with the wish to load the model is gone: "
        "load it again"
    )
