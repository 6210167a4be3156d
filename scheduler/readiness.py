"""Readiness: which versions can answer, derived from what is published and who lives.

A version is ready when it can be completed and each of its stages has a live worker that holds the
published content. Why one is not is told in words, since RepositoryIndex and `penstock status`
show nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from penstock.errors import InvalidConfiguration
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.completion import Deployment, complete
from penstock.scheduler.keys import StageRef
from penstock.scheduler.placement import Plan, place
from penstock.scheduler.snapshot import Snapshot, VersionId, worker_id

State = Literal["READY", "LOADING", "UNAVAILABLE"]


@dataclass(frozen=True, slots=True)
class VersionState:
    """What can be expected of a version now.

    Attributes:
        reason: why it is not ready; empty when it is.
        accepting: requests may be queued: it is ready, or known to be good and coming back.
        deployment: None while no worker has seen each of its artifacts.
    """

    state: State
    reason: str
    accepting: bool
    deployment: Deployment | None


@dataclass(frozen=True, slots=True)
class _StageState:
    """The same for one stage; *hope* is whether a worker for it is on its way."""

    ready: bool
    hope: bool
    reason: str


_FINE = _StageState(ready=True, hope=True, reason="")


def version_states(snapshot: Snapshot) -> Mapping[VersionId, VersionState]:
    """The state of each published version."""
    view = _View(snapshot)
    return {id_: view.state_of(version) for id_, version in sorted(snapshot.versions.items())}


class _View:
    """A snapshot, arranged for questions about stages."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._nodes = {node.id for node in snapshot.live_nodes()}
        self._workers: dict[tuple[str, int, int, str], list[pb.Worker]] = {}
        for w in snapshot.live_workers():
            self._workers.setdefault((w.model, w.version, w.stage, w.fingerprint), []).append(w)
        self._placements: dict[tuple[str, int, int, str], list[pb.Placement]] = {}
        for p in snapshot.placements:
            self._placements.setdefault((p.model, p.version, p.stage, p.fingerprint), []).append(p)
        self._plan: Plan | None = None

    def state_of(self, version: pb.ModelVersion) -> VersionState:
        if version.error:
            return VersionState("UNAVAILABLE", version.error, accepting=False, deployment=None)
        try:
            deployment = self._deployment(version)
        except InvalidConfiguration as error:
            return VersionState("UNAVAILABLE", str(error), accepting=False, deployment=None)
        stages = [self._stage_state(version, stage) for stage in version.stages]
        hopeless = [stage for stage in stages if not stage.hope]
        waiting = [stage for stage in stages if not stage.ready]
        if hopeless:
            reason = _told(version, stages, hopeless)
            return VersionState("UNAVAILABLE", reason, accepting=False, deployment=deployment)
        known = deployment is not None
        if waiting or not known:
            reason = _told(version, stages, waiting) or "its shards are not known yet"
            return VersionState("LOADING", reason, accepting=known, deployment=deployment)
        return VersionState("READY", "", accepting=True, deployment=deployment)

    def _deployment(self, version: pb.ModelVersion) -> Deployment | None:
        signatures: list[pb.Signature] = []
        for stage in version.stages:
            signature = self._snapshot.signature_of(version, stage)
            if signature is None:
                return None
            signatures.append(signature)
        return complete(version, signatures)

    def _stage_state(self, version: pb.ModelVersion, stage: pb.Stage) -> _StageState:
        key = (version.model, version.version, stage.index, stage.fingerprint)
        workers = self._workers.get(key, [])
        if any(worker.state == pb.WORKER_STATE_READY for worker in workers):
            return _FINE
        by_id = {worker.id: worker for worker in workers}
        coming = [worker for worker in workers if worker.state in _COMING]
        unseen = [
            p
            for p in self._placements.get(key, [])
            if p.node in self._nodes and worker_id(p) not in by_id
        ]
        if coming or unseen:
            return _StageState(ready=False, hope=True, reason=_coming_reason(coming, unseen))
        failed = [w for w in workers if w.state == pb.WORKER_STATE_FAILED]
        if failed:
            return _StageState(ready=False, hope=False, reason=failed[0].reason or "it failed")
        return self._unplaced(version, stage)

    def _unplaced(self, version: pb.ModelVersion, stage: pb.Stage) -> _StageState:
        """No live node has been told to run the stage: could one?"""
        if self._plan is None:
            snapshot = self._snapshot
            self._plan = place(
                list(snapshot.versions.values()), snapshot.live_nodes(), snapshot.placements
            )
        refusal = self._plan.refusals.get(StageRef(version.model, version.version, stage.index))
        if refusal:
            return _StageState(ready=False, hope=False, reason=refusal)
        if not any(f"schedulers/{id_}" in self._snapshot.live for id_ in self._snapshot.schedulers):
            why = "it waits for a scheduler to place it, and none is running"
            return _StageState(ready=False, hope=True, reason=why)
        return _StageState(ready=False, hope=True, reason="it is about to be placed on a node")


_COMING = frozenset(
    {
        pb.WORKER_STATE_UNSPECIFIED,
        pb.WORKER_STATE_LOADING,
        pb.WORKER_STATE_DRAINING,
        pb.WORKER_STATE_RESTARTING,
    }
)
_DOING = {
    pb.WORKER_STATE_LOADING: "is loading",
    pb.WORKER_STATE_DRAINING: "is stopping",
    pb.WORKER_STATE_RESTARTING: "is being restarted",
}


def _coming_reason(coming: Sequence[pb.Worker], unseen: Iterable[pb.Placement]) -> str:
    for worker in coming:
        why = f": {worker.reason}" if worker.reason else ""
        return f"worker {worker.id} {_DOING.get(worker.state, 'is starting')}{why}"
    return "".join(f"worker {worker_id(p)} is starting" for p in list(unseen)[:1])


def _told(
    version: pb.ModelVersion, stages: Sequence[_StageState], wanted: Sequence[_StageState]
) -> str:
    if len(version.stages) == 1:
        return "".join(stage.reason for stage in wanted)
    named = (
        f"stage {recorded.index}: {stage.reason}"
        for recorded, stage in zip(version.stages, stages, strict=True)
        if stage in wanted
    )
    return "; ".join(named)
