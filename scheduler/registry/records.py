"""The registry's records as bytes, and back: what scripts take and give."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, TypeVar

import structlog
from google.protobuf.message import DecodeError, Message

from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.scheduler.registry.snapshot import Outgoing, Snapshot, live, since_map, version_map
from penstock.scheduler.store.conversation import Argument, by_name

log = structlog.get_logger()

_MOST_LOGGED: Final = 1000
_UNCHANGED: Final = 6
"""Parts of an answer where nothing has changed."""

M = TypeVar("M", bound=Message)


class SnapshotReader:
    """Makes snapshots, of the same records where they did not change."""

    def __init__(self) -> None:
        # By hash and field, the bytes and the record they hold: most records seldom change.
        self._parsed: dict[tuple[type[Message], str], dict[bytes, tuple[bytes, Any]]] = {}
        self._logged: set[str] = set()
        self._available: frozenset[str] = frozenset()
        self._offered: bytes = b""
        self._used_ms: dict[str, float] = {}
        self._uses: bytes = b""

    def known(self, before: Snapshot | None) -> tuple[Argument, ...]:
        """What registry_snapshot.lua may leave out, as the first of its words.

        Args:
            before: the latest snapshot; None to leave out nothing.
        """
        if before is None:
            return "", "", "", 0
        return before.change_id, self._offered, self._uses, len(before.live)

    def read(self, answer: list[Any], before: Snapshot | None = None) -> Snapshot:
        """The snapshot that registry_snapshot.lua answered with.

        Args:
            before: the one that was said to be known; None where none was.
        """
        *_, self._uses, used, seen = answer
        if used is not None:
            self._used_ms = by_name(used, float)
        if before is not None and len(answer) == _UNCHANGED:
            return self._later(before, int(answer[0]), seen)
        return self._whole(answer)

    def _whole(self, answer: list[Any]) -> Snapshot:
        now_ms, revision, change_id, *hashes, available, offered, _, _, seen = answer
        if available is not None:
            self._available = frozenset(name.decode() for name in available)
        self._offered = offered
        versions, placements, nodes, workers, gateways, schedulers, *known = hashes
        signatures, batch_proofs, unsplittable, footprints, rebuilds, *control = known
        retiring, since, load_requests, answers, files, settings, access_keys = control
        published = self._records(versions, pb.ModelVersion)
        retired = self._records(retiring, pb.ModelVersion, "retiring")
        since_ms = by_name(since, int)
        seen_ms = by_name(seen, float)
        return Snapshot(
            now_ms=int(now_ms),
            revision=int(revision),
            change_id=change_id.decode(),
            versions=version_map(published.items()),
            placements=tuple(self._records(placements, pb.Placement).values()),
            nodes=self._records(nodes, pb.Node),
            workers=self._records(workers, pb.Worker),
            gateways=self._records(gateways, pb.Gateway),
            schedulers=self._records(schedulers, pb.Scheduler),
            signatures=self._records(signatures, pb.Signature),
            batch_proofs=self._records(batch_proofs, pb.BatchProof),
            unsplittable=by_name(unsplittable, bytes.decode),
            footprints=by_name(footprints, int),
            rebuilds=by_name(rebuilds, bytes.decode),
            live=live(seen_ms, int(now_ms)),
            seen_ms=seen_ms,
            outgoing=tuple(Outgoing(f, since_ms.get(f, 0), r) for f, r in retired.items()),
            since_ms=since_map(since_ms, published),
            load_requests=self._records(load_requests, pb.LoadRequest),
            load_results=self._records(answers, pb.LoadResult),
            available=self._available,
            files=by_name(files, bytes.decode),
            settings=by_name(settings, bytes.decode),
            access_keys=self._records(access_keys, pb.AccessKey),
            used_ms=self._used_ms,
        )

    def _later(self, before: Snapshot, now_ms: int, seen: list[bytes] | None) -> Snapshot:
        """*before*, at a later time."""
        later = replace(before, now_ms=now_ms, used_ms=self._used_ms)
        if seen is None:
            return later
        seen_ms = by_name(seen, float)
        return replace(later, live=live(seen_ms, now_ms), seen_ms=seen_ms)

    def _records(self, flat: list[bytes], kind: type[M], place: str = "") -> dict[str, M]:
        """The records of one hash by field, in the fields' order; *place* names it if need be."""
        known = self._parsed.get((kind, place), {})
        parsed: dict[bytes, tuple[bytes, M]] = {}
        for field, content in sorted(zip(flat[::2], flat[1::2], strict=True)):
            before = known.get(field)
            if before is not None and before[0] == content:
                parsed[field] = before
            else:
                record = self._parse(kind, field, content)
                if record is not None:
                    parsed[field] = content, record
        self._parsed[kind, place] = parsed
        return {field.decode(): record for field, (_, record) in parsed.items()}

    def _parse(self, kind: type[M], field: bytes, content: bytes) -> M | None:
        """The record; None, and said once, where this release cannot read it."""
        try:
            record = kind.FromString(content)
        except DecodeError as error:
            self._say(f"{kind.DESCRIPTOR.name} {field.decode(errors='replace')}", error)
            return None
        if isinstance(record, pb.ModelVersion):
            _check_config(record)
        return record

    def _say(self, place: str, error: Exception) -> None:
        if place in self._logged:
            return
        if len(self._logged) >= _MOST_LOGGED:
            self._logged.clear()
        self._logged.add(place)
        log.warning(
            "a record that this release cannot read is ignored", record=place, error=str(error)
        )


def _check_config(version: pb.ModelVersion) -> None:
    """Turn a version whose configuration cannot be read into one that cannot be served."""
    try:
        config_pb.ModelConfig.FromString(version.config)
    except DecodeError as error:
        version.error = f"this release cannot read its configuration: {error}"
        version.ClearField("config")


def named(versions: Iterable[pb.ModelVersion]) -> list[str | bytes]:
    """*versions* as the scripts take them that publish: name, record, name, record ..."""
    words: list[str | bytes] = []
    for version in versions:
        name = f"{version.model}/{version.version}/{version.revision_id}"
        words += (name, as_bytes(version))
    return words


def as_bytes(record: Message) -> bytes:
    """*record* serialized."""
    # Maps have no order of their own; equal records must have equal bytes.
    return record.SerializeToString(deterministic=True)
