"""The registry: what is deployed and what is running, in one hash slot of Redis.

Each process announces itself every second; who is silent for `snapshot.LIVE_MS` no longer counts,
and is forgotten some time later. Nothing that can be derived is stored (ADR 0005): readers take a
`Snapshot` and derive. Every change is also an entry of a bounded stream, which wakes readers and
is the cluster's log of events.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from functools import partial
from itertools import count
from typing import Final

import structlog
from google.protobuf.message import Message

from penstock.errors import InvalidRequest, PenstockError
from penstock.process.supervised import regularly
from penstock.protos import cluster_pb2 as pb
from penstock.retry import Backoff
from penstock.scheduler.registry.artifact_facts import AgreedFacts, ArtifactFacts, as_words
from penstock.scheduler.registry.changes import (
    EVENT_ID,
    LOOK_EVERY_MS,
    change_after,
    entries_after,
    event_of,
)
from penstock.scheduler.registry.records import SnapshotReader, as_bytes, named
from penstock.scheduler.registry.snapshot import (
    FORGIVEN_GAP_MS,
    LIVE_MS,
    Outgoing,
    Snapshot,
    placement_id,
    signature_id,
    state_of,
)
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.keyspace import SCHEMA
from penstock.scheduler.store.link import Link, Links

log = structlog.get_logger()

ANNOUNCE_EVERY_S: Final = 1.0
"""How often a process says that it lives; three misses, and it no longer counts."""

FORGET_MS: Final = 2 * FORGIVEN_GAP_MS
"""A process that was not seen for longer leaves the registry."""

_PAGE = 100
_WHOLE_EVERY: Final = 10
"""Looks in a row of which one reads everything, whatever has changed."""
_BACKOFF = Backoff(0.5, 2.0)

_ANNOUNCE = scripts.load("registry_announce")
_SEE = scripts.load("registry_see")
_SNAPSHOT = scripts.load("registry_snapshot")
_PUBLISH = scripts.load("registry_publish")
_PLACE = scripts.load("registry_place")
_FORGET = scripts.load("registry_forget")

Process = pb.Node | pb.Worker | pb.Gateway | pb.Scheduler


_KINDS: Final[dict[type[Message], str]] = {
    pb.Node: "node",
    pb.Worker: "worker",
    pb.Gateway: "gateway",
    pb.Scheduler: "scheduler",
}
"""What events call a kind of process; where its records are, and in `seen`, an "s" follows."""

HASHES: Final = (
    *("versions", "placements", "nodes", "workers", "gateways", "schedulers"),
    *("signatures", "batch_proofs", "unsplittable", "footprints", "rebuilds"),
    *("retiring", "since", "wishes", "answers", "files", "settings", "access_keys"),
)
"""What a snapshot is read from, as `SnapshotReader` takes it."""


class Registry:
    """The registry behind *links*."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._reader = SnapshotReader()
        self._turned = asyncio.Event()

    @property
    def link(self) -> Link:
        """To the server that it is kept in."""
        return self._links.to(RegistryKeys.tag)

    async def announce(self, record: Process, *, facts: ArtifactFacts | None = None) -> AgreedFacts:
        """Say that the record's process lives, and what it is; call it every second.

        Returns what stands of the findings in the worker's artifact, whoever made them.

        Args:
            facts: what the worker of *record* found in its artifact.

        Raises:
            StoreUnavailable: Redis cannot be reached; the next call puts it right.
        """
        kind = _KINDS[type(record)]
        words: tuple[Argument, ...] = (
            f"{kind}s",
            record.id,
            as_bytes(record),
            LIVE_MS,
            _event_of(record, kind),
            record.reason if isinstance(record, pb.Worker) else "",
            SCHEMA,
            *as_words(record, facts),
        )
        return AgreedFacts.read(await self.link.call(_ANNOUNCE, RegistryKeys.prefix, words))

    async def see_workers(self, ids: Sequence[str]) -> int:
        """Say that the workers *ids* live, as far as they are known; returns how many are.

        For a node, which hears each of its own; they then say seldom themselves what they are.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        words: list[Argument] = ["workers", LIVE_MS, *ids]
        return int(await self.link.call(_SEE, RegistryKeys.prefix, words))

    async def withdraw(self, record: Process) -> None:
        """Take the record's process out: it leaves in order, and need not be missed first."""
        kind = _KINDS[type(record)]
        await self._forget(("process", f"{kind}s/{record.id}", "", f"{kind}.left"))

    async def _forget(self, words: Sequence[Argument]) -> int:
        return int(await self.link.call(_FORGET, RegistryKeys.prefix, words))

    @property
    def connections_made(self) -> int:
        """How often the server was connected to: another one may have forgotten everything."""
        return self.link.connections_made

    async def snapshot(self) -> Snapshot:
        """Everything, read in one step; records that did not change are the same objects."""
        return await self._snapshot_after(None)

    async def _snapshot_after(self, before: Snapshot | None) -> Snapshot:
        """The same; where nothing has changed since *before*, only who was seen is read."""
        words = (*self._reader.known(before), *HASHES)
        answer = await self.link.call(_SNAPSHOT, RegistryKeys.prefix, words)
        return self._reader.read(answer, before)

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """Snapshots: one at once, then after every change and at least each second.

        Changes that come together are seen together. An outage of Redis is waited out.
        """
        link = self._links.blocking(RegistryKeys.tag)
        attempt = 0
        snapshot: Snapshot | None = None
        try:
            for look in count():
                try:
                    snapshot = await self._snapshot_after(snapshot if look % _WHOLE_EVERY else None)
                except PenstockError as error:
                    if not attempt:
                        log.warning("registry cannot be read, waiting", error=str(error))
                    attempt += 1
                    await asyncio.sleep(_BACKOFF.delay_s(attempt))
                    continue
                if attempt:
                    log.info("registry can be read again")
                attempt = 0
                self._turn()
                yield snapshot
                await change_after(link, snapshot.change_id)
        finally:
            await link.close()

    async def publish(self, source: str, versions: Sequence[pb.ModelVersion]) -> int:
        """Make *versions* all that *source* offers; returns how many were new, changed or gone.

        Args:
            source: the repository's name, without a slash.
        """
        if "/" in source:
            raise ValueError(f"a source's name has no slash: {source}")
        words = (source, "", "", "", *named(versions))
        return int(await self.link.call(_PUBLISH, RegistryKeys.prefix, words))

    async def retire(self, revisions: Iterable[Outgoing]) -> int:
        """Forget *revisions* that retired and did not come back; their workers are then stopped."""
        words: list[Argument] = []
        for revision in revisions:
            words += ("retiring", revision.field, revision.since_ms, "version.retired")
        return await self._forget(words)

    async def place(
        self, revision: int, placements: Iterable[pb.Placement], detail: str = ""
    ) -> int | None:
        """Replace all placements; None when they are no longer of *revision*: look again."""
        words: list[Argument] = [revision, detail]
        for placement in placements:
            words += (placement_id(placement), as_bytes(placement))
        answer = await self.link.call(_PLACE, RegistryKeys.prefix, words)
        return None if answer is None else int(answer)

    async def sweep(self, snapshot: Snapshot) -> int:
        """Forget processes that were silent for `FORGET_MS`, and signatures of nothing.

        Returns how many processes were forgotten. Any scheduler may do it at any time.
        """
        words: list[Argument] = []
        for kind, records in (
            ("node", snapshot.nodes),
            ("worker", snapshot.workers),
            ("gateway", snapshot.gateways),
            ("scheduler", snapshot.schedulers),
        ):
            for id_ in records:
                member = f"{kind}s/{id_}"
                seen_ms = int(snapshot.seen_ms.get(member, 0))
                if member not in snapshot.live and snapshot.now_ms - seen_ms > FORGET_MS:
                    words += ("process", member, seen_ms, f"{kind}.forgotten")
        for artifact in stale_signatures(snapshot):
            words += ("artifact", artifact, "", "")
        return await self._forget(words) if words else 0

    async def events(self, after_id: str = "") -> AsyncIterator[pb.Event]:
        """What happens after the event *after_id*, or from now on; an outage is waited out.

        However many follow, they share one connection: who watches the registry in this process
        wakes them, and without one they look each second.

        Raises:
            InvalidRequest: *after_id* is no event's id.
        """
        if after_id and not EVENT_ID.fullmatch(after_id):
            raise InvalidRequest(f"'{after_id}' is not the id of an event")
        position = after_id or (await self.snapshot()).change_id
        while True:
            turned = self._turned
            entries = await entries_after(self.link, position, _PAGE, waits=False)
            for id_, fields in entries:
                position = id_.decode()
                yield event_of(position, fields)
            if len(entries) < _PAGE:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_MS / 1000):
                        await turned.wait()

    def _turn(self) -> None:
        """Wake who follows events."""
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()


async def keep_announcing(registry: Registry, record: Process) -> None:
    """Announce *record* every second until cancelled, as it is at that moment.

    An outage of Redis is waited out: the process goes on with its work.
    """
    announce = partial(registry.announce, record)
    await regularly(ANNOUNCE_EVERY_S, announce, "announcing failed", id=record.id)


async def leave(registry: Registry, record: Process) -> None:
    """Withdraw *record*, if Redis can be reached; else its process is missed soon."""
    with contextlib.suppress(PenstockError):
        await registry.withdraw(record)


def stale_signatures(snapshot: Snapshot) -> list[str]:
    """Signatures of artifacts that are neither published nor held by a live worker."""
    needed = {
        signature_id(version.model, version.version, stage.index, stage.fingerprint)
        for version in snapshot.revisions()
        for stage in version.stages
    }
    needed |= {
        signature_id(w.model, w.version, w.stage, w.fingerprint) for w in snapshot.live_workers()
    }
    known = {*snapshot.signatures, *snapshot.batch_proofs, *snapshot.unsplittable}
    return sorted(known - needed)


def _event_of(record: Process, kind: str) -> str:
    if isinstance(record, pb.Worker):
        return f"worker.{state_of(record)}"
    if isinstance(record, pb.Node | pb.Gateway) and record.draining:
        return f"{kind}.draining"
    return f"{kind}.seen"
