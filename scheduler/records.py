"""The registry's records as bytes, and back: what scripts take and give."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from google.protobuf.message import Message

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.snapshot import Retiring, Snapshot, live, since_map, version_map

M = TypeVar("M", bound=Message)
N = TypeVar("N", int, float)


class SnapshotReader:
    """Makes snapshots, of the same records where they did not change."""

    def __init__(self) -> None:
        # By hash and field, the bytes and the record they hold: most records seldom change.
        self._parsed: dict[tuple[type[Message], str], dict[bytes, tuple[bytes, Any]]] = {}

    def read(self, answer: list[Any]) -> Snapshot:
        """The snapshot that registry_snapshot.lua answered with."""
        now_ms, revision, change_id, *hashes, offers, used, seen = answer
        versions, placements, nodes, workers, gateways, schedulers, *known = hashes
        signatures, batch_proofs, unsplittable, *control = known
        retiring, since, wishes, answers, files, settings = control
        published = self._records(versions, pb.ModelVersion)
        retired = self._records(retiring, pb.ModelVersion, "retiring")
        since_ms = _numbers(since, int)
        seen_ms = _numbers(seen, float)
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
            unsplittable=_texts(unsplittable),
            live=live(seen_ms, int(now_ms)),
            seen_ms=seen_ms,
            retiring=tuple(Retiring(f, since_ms.get(f, 0), r) for f, r in retired.items()),
            since_ms=since_map(since_ms, published),
            wishes=self._records(wishes, pb.Wish),
            answers=self._records(answers, pb.Answer),
            offers=frozenset(name.decode() for name in offers),
            files=_texts(files),
            settings=_texts(settings),
            used_ms=_numbers(used, float),
        )

    def _records(self, flat: list[bytes], kind: type[M], place: str = "") -> dict[str, M]:
        """The records of one hash by field, in the fields' order; *place* names it if need be."""
        known = self._parsed.get((kind, place), {})
        parsed: dict[bytes, tuple[bytes, M]] = {}
        for field, content in sorted(zip(flat[::2], flat[1::2], strict=True)):
            before = known.get(field)
            if before is not None and before[0] == content:
                parsed[field] = before
            else:
                parsed[field] = content, kind.FromString(content)
        self._parsed[kind, place] = parsed
        return {field.decode(): record for field, (_, record) in parsed.items()}


def named(versions: Iterable[pb.ModelVersion]) -> list[str | bytes]:
    """*versions* as the scripts take them that publish: name, record, name, record ..."""
    words: list[str | bytes] = []
    for version in versions:
        name = f"{version.model}/{version.version}/{version.generation}"
        words += (name, as_bytes(version))
    return words


def as_bytes(record: Message) -> bytes:
    """*record* serialized."""
    # Maps have no order of their own; equal records must have equal bytes.
    return record.SerializeToString(deterministic=True)


def _texts(flat: list[bytes]) -> dict[str, str]:
    """Field -> text, of a flat list."""
    return {k.decode(): v.decode() for k, v in zip(flat[::2], flat[1::2], strict=True)}


def _numbers(flat: list[bytes], number: Callable[[bytes], N]) -> dict[str, N]:
    """Member -> number, of a flat list."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {member.decode(): number(value) for member, value in pairs}
