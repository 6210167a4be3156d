"""Load requests: models that clients want loaded or unloaded, and what comes of it.

A gateway writes a load request, a scheduler that has the repository answers it by publishing
versions, or by saying why not; both are facts in the registry, and the latest load request for a
model counts. Files that come with a load request are kept in Redis under their digest, and fetched
by whoever needs them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from penstock.errors import ArtifactUnusable
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.records import as_bytes, named
from penstock.scheduler.registry.snapshot import Snapshot
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links

SOURCE: Final = "repository"
"""The one name under which all schedulers publish: they are to see the same repositories."""

NOT_THERE: Final = "failed to poll from model repository"
"""Triton's words for a model that the repository does not have."""

NEEDED: Final = "needed by ensemble '"
"""How the reason begins of a load request for a model that an ensemble is made of."""

UNREQUESTED_MS: Final = 600_000
"""Contents whose load request never came go after this time."""

_STALE_MS: Final = 60_000
_PIECE_BYTES: Final = 1 << 20

_KEEP = scripts.load("registry_keep")
_PUT = scripts.load("registry_load_request")
_ANSWER = scripts.load("registry_publish")
_SET_AVAILABLE = scripts.load("registry_offer")
_USE = scripts.load("registry_use")
_FORGET = scripts.load("registry_forget")


class LoadRequests:
    """The load requests behind *links*; errors of each method as for `Link.call`."""

    def __init__(self, links: Links) -> None:
        self._link = links.to(RegistryKeys.tag)

    async def put(self, load_request: pb.LoadRequest) -> None:
        """Make *load_request* the one that counts for its model.

        Raises:
            ArtifactUnusable: the content of one of its files is not there: `keep` it again.
        """
        await self._put(load_request, "*")

    async def replace(self, before: pb.LoadRequest | None, load_request: pb.LoadRequest) -> bool:
        """As `put`, unless another one than *before* counts; returns whether it does now."""
        return await self._put(load_request, as_bytes(before) if before is not None else "")

    async def _put(self, load_request: pb.LoadRequest, before: str | bytes) -> bool:
        words: list[Argument] = [
            load_request.model,
            as_bytes(load_request),
            "model.unload" if load_request.unload else "model.load",
            load_request.reason,
            before,
        ]
        for file in load_request.files:
            words += (file.digest, file.size)
        answer = await self._link.call(_PUT, RegistryKeys.prefix, words)
        if int(answer) < 0:
            raise _lost(load_request.files[-int(answer) - 1])
        return bool(answer)

    async def answer(
        self,
        model: str,
        load_request: pb.LoadRequest | None,
        answer: pb.LoadResult | None,
        versions: Sequence[pb.ModelVersion],
    ) -> int | None:
        """Make *versions* all that there is of *model*, as *load_request* wants it.

        Returns how many contents were new, changed or gone; None when another load request counts
        by now.
        """
        words = (
            SOURCE,
            model,
            as_bytes(load_request) if load_request is not None else "",
            as_bytes(answer) if answer is not None else "",
            *named(versions),
        )
        found = await self._link.call(_ANSWER, RegistryKeys.prefix, words)
        return None if found is None else int(found)

    async def set_available(self, models: Iterable[str]) -> int:
        """Make *models* all that can be requested; returns how many names came or went."""
        return int(await self._link.call(_SET_AVAILABLE, RegistryKeys.prefix, tuple(models)))

    async def use(self, ago_ms: Mapping[str, int]) -> None:
        """Say how long ago the latest request for each model was."""
        words: list[Argument] = []
        for model, ago in ago_ms.items():
            words += (model, ago)
        await self._link.call(_USE, RegistryKeys.prefix, words)

    async def tidy(self, snapshot: Snapshot) -> int:
        """Forget load requests for models that are gone, and contents that nobody needs."""
        words: list[Argument] = []
        for model in stale_load_requests(snapshot):
            words += ("wish", model, as_bytes(snapshot.load_requests[model]), "")
        for digest in stale_files(snapshot):
            words += ("file", digest, snapshot.files[digest], "")
        return int(await self._link.call(_FORGET, RegistryKeys.prefix, words)) if words else 0

    async def keep(self, content: bytes) -> str:
        """Keep *content* for a load request that is about to come; returns its digest."""
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        # In pieces: others use the same connection, and must not wait long.
        for start in range(0, len(content), _PIECE_BYTES):
            piece = content[start : start + _PIECE_BYTES]
            await self._link.call(
                _KEEP, RegistryKeys.prefix, (digest, start, piece, UNREQUESTED_MS)
            )
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


def stale_load_requests(snapshot: Snapshot) -> list[str]:
    """Models whose load request means nothing: it is old, and they are not available or there."""
    there = {revision.model for revision in snapshot.revisions()} | snapshot.available
    return sorted(
        model
        for model, load_request in snapshot.load_requests.items()
        if model not in there
        and model in snapshot.load_results
        and snapshot.now_ms - load_request.time_ms > _STALE_MS
    )


def stale_files(snapshot: Snapshot) -> list[str]:
    """Digests of contents that belong to no load request and to nothing that runs."""
    needed = {
        file.digest
        for load_request in snapshot.load_requests.values()
        for file in load_request.files
    }
    needed |= {file.digest for record in snapshot.revisions() for file in record.files}
    return sorted(set(snapshot.files) - needed)


def _lost(file: pb.File) -> ArtifactUnusable:
    return ArtifactUnusable(
        f"the content of {file.path} that came with the load request to load the model is gone: "
        "load it again"
    )
