"""What the registry knew at one moment, as values that decisions are made from.

The records are facts, written by the process that they are about. Whether a version is ready, or
a worker missing, is derived from them by whoever asks (ADR 0005).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from operator import itemgetter
from typing import Final, NamedTuple

from penstock.models.refs import StageRef, suffix
from penstock.protos import cluster_pb2 as pb

_REPLICA: Final = re.compile(r"/\d+\.(\d{1,6})(?:~[^/]*)?$")
"""How the name of a worker ends that was placed."""

LIVE_MS: Final = 3000
"""A process that was not seen for longer does not count. It announces itself every second."""

RETURN_MS: Final = 5000
"""After an outage of Redis a process needs so long, at most, to find it again and be seen."""

FORGIVEN_GAP_MS: Final = 60_000
"""Silence of everybody for up to this long was an outage of Redis, not everybody's death."""


class VersionId(NamedTuple):
    """A model version's name in the registry."""

    model: str
    version: int


class Outgoing(NamedTuple):
    """A revision that is no longer published, and whose workers have not been told to stop.

    Attributes:
        field: its name in the registry.
        since_ms: when it stopped being published, on Redis's clock.
    """

    field: str
    since_ms: int
    record: pb.ModelVersion

    @property
    def id(self) -> VersionId:
        """The version that it was the revision of."""
        return VersionId(self.record.model, self.record.version)

    @property
    def left(self) -> str:
        """How a gateway names it that has left it: this once, should it come back."""
        return f"{self.field}@{self.since_ms}"


def stage_of(placed: pb.Placement | pb.Worker) -> StageRef:
    """The stage that a placement asks for, or a worker runs."""
    return StageRef(placed.model, placed.version, placed.stage, placed.revision_id)


def state_of(worker: pb.Worker) -> str:
    """The worker's state, as in "ready"; "unknown" for one that only a later release has."""
    known = worker.state in pb.WorkerState.values()
    name = pb.WorkerState.Name(worker.state) if known else "UNKNOWN"
    return name.removeprefix("WORKER_STATE_").lower()


def placement_id(placement: pb.Placement) -> str:
    """The placement's name: which replica of which stage, of which revision."""
    place = f"{placement.model}/{placement.version}/{placement.stage}.{placement.replica}"
    return place + suffix(placement.revision_id)


def worker_id(placement: pb.Placement) -> str:
    """The name of the worker that the placement asks for; stable over its restarts."""
    return f"{placement.node}/{placement_id(placement)}"


def replica_of(worker: str) -> int:
    """Which of its stage's replicas the worker of this name is; 0 for one that nobody placed."""
    found = _REPLICA.search(worker)
    return int(found[1]) if found else 0


def signature_id(model: str, version: int, stage: int, fingerprint: str) -> str:
    """Where the signature of one artifact's revision is kept."""
    return f"{model}/{version}/{stage}/{fingerprint}"


def footprint_id(version: pb.ModelVersion, stage: pb.Stage, device_kind: str) -> str:
    """Where it is kept what a worker of *stage* holds of a device of that kind."""
    return f"{_artifact_id(version, stage)}@{device_kind}"


def _artifact_id(version: pb.ModelVersion, stage: pb.Stage) -> str:
    return signature_id(version.model, version.version, stage.index, stage.fingerprint)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything in the registry, read in one step.

    Attributes:
        now_ms: Redis's clock when it was read.
        revision: of the placements; they are replaced only by who knows it.
        change_id: the latest entry of the stream of changes that it contains.
        nodes, workers, gateways, schedulers: records by id, live or not.
        signatures: by `signature_id`.
        batch_proofs: by `signature_id`: whether requests may share a run where the owner does not
            say; absent where nobody tried.
        unsplittable: by `signature_id`: why a batch of that artifact could not be split.
        footprints: by `signature_id` and "@" and a kind of devices: bytes of such a device that a
            worker with that artifact held once it was ready.
        rebuilds: by `signature_id` and "@" and a processor, runtime and number of threads: how a
            lost cache of that stage of a language model comes back with them.
        outgoing: revisions that versions had before, or that are no longer wanted.
        since_ms: when each version's present revision was published, on Redis's clock.
        load_requests, load_results: by model: what is asked of it, and what a scheduler found.
        available: names of models that can be requested.
        files: digest -> bytes, and when it was last asked for, of revisions that came with load
            requests.
        settings: what clients changed for the whole cluster, by name; see `cluster_settings`.
        access_keys: by id; those that were revoked as well.
        used_ms: by model: when a gateway last had a request for it.
        live: "<kind>/<id>" of every process that counts as alive, kind as above.
        seen_ms: the same names -> when each process was last seen, alive or not; of those that are
            alive some time ago, maybe, where nothing has changed since.
    """

    now_ms: int
    revision: int
    change_id: str
    versions: Mapping[VersionId, pb.ModelVersion]
    placements: tuple[pb.Placement, ...]
    nodes: Mapping[str, pb.Node]
    workers: Mapping[str, pb.Worker]
    gateways: Mapping[str, pb.Gateway]
    schedulers: Mapping[str, pb.Scheduler]
    signatures: Mapping[str, pb.Signature]
    live: frozenset[str]
    seen_ms: Mapping[str, float] = field(default_factory=dict)
    outgoing: tuple[Outgoing, ...] = ()
    since_ms: Mapping[VersionId, int] = field(default_factory=dict)
    load_requests: Mapping[str, pb.LoadRequest] = field(default_factory=dict)
    load_results: Mapping[str, pb.LoadResult] = field(default_factory=dict)
    available: frozenset[str] = frozenset()
    files: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    used_ms: Mapping[str, float] = field(default_factory=dict)
    batch_proofs: Mapping[str, pb.BatchProof] = field(default_factory=dict)
    unsplittable: Mapping[str, str] = field(default_factory=dict)
    footprints: Mapping[str, int] = field(default_factory=dict)
    rebuilds: Mapping[str, str] = field(default_factory=dict)
    access_keys: Mapping[str, pb.AccessKey] = field(default_factory=dict)

    def says_the_same(self, other: "Snapshot") -> bool:
        """Whether nothing has changed between two looks at the registry but the time."""
        return all(getattr(self, name) == getattr(other, name) for name in _TIMELESS)

    def live_nodes(self) -> list[pb.Node]:
        """The nodes that are alive, by id; those that drain as well."""
        return [node for id_, node in sorted(self.nodes.items()) if f"nodes/{id_}" in self.live]

    def live_workers(self) -> list[pb.Worker]:
        """The workers whose process, or whose node in its place, was seen lately, by id."""
        return [w for id_, w in sorted(self.workers.items()) if f"workers/{id_}" in self.live]

    def live_gateways(self) -> list[pb.Gateway]:
        """The gateway processes that are alive, by id; those that drain as well."""
        return [g for id_, g in sorted(self.gateways.items()) if f"gateways/{id_}" in self.live]

    def live_schedulers(self) -> list[pb.Scheduler]:
        """The schedulers that are alive, by id."""
        return [s for id_, s in sorted(self.schedulers.items()) if f"schedulers/{id_}" in self.live]

    def control_mode(self) -> str | None:
        """What decides which models are loaded; None while no scheduler has a repository."""
        return next((s.control_mode for s in self.live_schedulers() if s.control_mode), None)

    def response_cache_bytes(self) -> int | None:
        """What the cluster may use for cached replies; None while no scheduler says."""
        schedulers = (s for s in self.live_schedulers() if s.control_mode)
        return next((s.response_cache_bytes for s in schedulers), None)

    def revisions(self) -> list[pb.ModelVersion]:
        """All that a worker may be wanted for: what is published, and what retires."""
        return [*self.versions.values(), *(one.record for one in self.outgoing)]

    def revision_of(
        self, model: str, version: int, revision_id: str | None
    ) -> pb.ModelVersion | None:
        """A version's revision of that revision_id; the published one when it does not matter."""
        if revision_id is None:
            return self.versions.get(VersionId(model, version))
        wanted = (model, version, revision_id)
        return next(
            (c for c in self.revisions() if (c.model, c.version, c.revision_id) == wanted), None
        )

    def versions_of(self, model: str) -> list[pb.ModelVersion]:
        """The published versions of *model*, lowest first; empty when there is no such model."""
        return [record for id_, record in sorted(self.versions.items()) if id_.model == model]

    def result_of(self, model: str) -> pb.LoadResult | None:
        """What came of the latest load request for *model*; None where nobody has looked at it."""
        load_request, result = self.load_requests.get(model), self.load_results.get(model)
        if load_request is None or result is None or result.load_request != load_request.id:
            return None
        return result

    def is_load_awaited(self, model: str) -> bool:
        """Whether somebody wants *model* loaded, and no scheduler has looked at that yet."""
        load_request = self.load_requests.get(model)
        if load_request is None or load_request.unload:
            return False
        return self.result_of(model) is None

    def signature_of(self, version: pb.ModelVersion, stage: pb.Stage) -> pb.Signature | None:
        """What a worker found in the stage's artifact; None until one has loaded it."""
        return self.signatures.get(_artifact_id(version, stage))

    def batch_proof_of(self, version: pb.ModelVersion, stage: pb.Stage) -> pb.BatchProof | None:
        """Whether rows of the stage's artifact may run together; None where nobody tried it."""
        return self.batch_proofs.get(_artifact_id(version, stage))

    def rebuild_of(self, version: pb.ModelVersion, stage: pb.Stage, domain: str) -> str | None:
        """How a lost cache of *stage* comes back in a numeric domain; None: nobody has tried it."""
        return self.rebuilds.get(f"{_artifact_id(version, stage)}@{domain}")

    def unsplittable_of(self, version: pb.ModelVersion) -> str:
        """Why requests to *version* no longer share runs, whatever was said; empty: they may."""
        whys = (self.unsplittable.get(_artifact_id(version, one), "") for one in version.stages)
        return next(filter(None, whys), "")


_OF_TIME: Final = ("now_ms", "seen_ms", "used_ms")
_TIMELESS: Final = tuple(one.name for one in fields(Snapshot) if one.name not in _OF_TIME)


def empty_snapshot() -> Snapshot:
    """The snapshot of a registry that holds nothing."""
    return Snapshot(0, 0, "0-0", {}, (), {}, {}, {}, {}, {}, frozenset())


def live(seen_ms: Mapping[str, float], now_ms: int) -> frozenset[str]:
    """Who of those in *seen_ms* counts as alive at *now_ms*.

    Alive is who was seen within `LIVE_MS`. While Redis is away nobody can be seen: such a gap,
    and `RETURN_MS` after it, are not held against anybody who was alive when it began.

    Args:
        seen_ms: member -> when it was last seen, with the latest gap's ends under "gap/from" and
            "gap/until" (registry_announce.lua).
        now_ms: Redis's clock.
    """
    members = {m: at for m, at in seen_ms.items() if not m.startswith("gap/")}
    latest = max(members.values(), default=0.0)
    gaps = [(seen_ms.get("gap/from", 0.0), seen_ms.get("gap/until", 0.0)), (latest, float(now_ms))]
    since = [float(now_ms - LIVE_MS)]
    since += [
        start - LIVE_MS
        for start, end in gaps
        if end - start <= FORGIVEN_GAP_MS and now_ms - end <= RETURN_MS
    ]
    return frozenset(member for member, at in members.items() if at >= min(since))


def version_map(fields: Iterable[tuple[str, pb.ModelVersion]]) -> dict[VersionId, pb.ModelVersion]:
    """Versions by id, from (source-qualified name, record) pairs.

    Where two sources publish one version, the source whose name sorts first has it.
    """
    versions: dict[VersionId, pb.ModelVersion] = {}
    for _, record in sorted(fields, key=itemgetter(0)):
        versions.setdefault(VersionId(record.model, record.version), record)
    return versions


def since_map(since_ms: Mapping[str, int], fields: Iterable[str]) -> dict[VersionId, int]:
    """When each version's revision was published, from the *fields* that hold them."""
    found: dict[VersionId, int] = {}
    for name in sorted(fields):
        _, model, version, *_ = name.split("/")
        found.setdefault(VersionId(model, int(version)), since_ms.get(name, 0))
    return found
