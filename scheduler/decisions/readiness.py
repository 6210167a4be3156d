"""Readiness: which revisions can answer, derived from what is published and who lives.

A revision of a version is ready when it can be completed and each of its stages has a live worker
that holds it. Why one is not is told in words, since RepositoryIndex and `penstock status` show
nothing else. Which revision of a version requests go to is decided in `rollout`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import penstock
from penstock.errors import InvalidConfiguration
from penstock.models.completion import Deployment, complete
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.placement import Plan, place
from penstock.scheduler.registry.snapshot import Snapshot, stage_of, worker_id

State = Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]


@dataclass(frozen=True, slots=True)
class VersionState:
    """What can be expected of a version now, or of one revision of it.

    Attributes:
        reason: why it is not ready; empty when it is.
        accepting: requests may be queued: it is ready, or known to be good and coming back.
        deployment: None while no worker has seen each of its artifacts.
        complete: it is ready, and so are all of its replicas that are placed.
        crowded: nothing but room is missing.
        failed: its shards could not be loaded where they were tried; they are tried again.
    """

    state: State
    reason: str
    accepting: bool = False
    deployment: Deployment | None = None
    complete: bool = False
    crowded: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Routing:
    """A version as requests meet it.

    Attributes:
        record: the revision that requests go to; None when all of its workers are to stop.
    """

    state: VersionState
    record: pb.ModelVersion | None


@dataclass(frozen=True, slots=True)
class _StageState:
    """The same for one stage; *hope* is whether a worker for it is on its way."""

    reason: str = ""
    ready: bool = False
    hope: bool = True
    complete: bool = False
    crowded: bool = False
    failed: bool = False


class View:
    """A snapshot, arranged for questions about revisions."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._nodes = {node.id for node in snapshot.live_nodes()}
        self._workers: dict[tuple[StageRef, str], list[pb.Worker]] = {}
        for worker in snapshot.live_workers():
            self._workers.setdefault(_key(worker), []).append(worker)
        self._placements: dict[tuple[StageRef, str], list[pb.Placement]] = {}
        for placement in snapshot.placements:
            self._placements.setdefault(_key(placement), []).append(placement)

    def state_of(self, version: pb.ModelVersion) -> VersionState:
        """The state of one revision of a version."""
        if version.error:
            return VersionState("UNAVAILABLE", version.error)
        try:
            deployment = self._deployment(version)
        except InvalidConfiguration as error:
            return VersionState("UNAVAILABLE", str(error))
        except Exception as error:  # noqa: BLE001 - a record of another release: others serve on
            return unreadable(error)
        stages = [self._stage_state(version, stage) for stage in version.stages]
        hopeless = [stage for stage in stages if not stage.hope]
        waiting = [stage for stage in stages if not stage.ready]
        if hopeless:
            reason = _reason_of(version, stages, hopeless)
            return VersionState(
                "UNAVAILABLE",
                reason,
                deployment=deployment,
                crowded=all(stage.crowded for stage in hopeless),
                failed=any(stage.failed for stage in hopeless),
            )
        known = deployment is not None
        if waiting or not known:
            reason = _reason_of(version, stages, waiting) or "its shards are not known yet"
            return VersionState("LOADING", reason, accepting=known, deployment=deployment)
        whole = all(stage.complete for stage in stages)
        return VersionState("READY", "", accepting=True, deployment=deployment, complete=whole)

    def _deployment(self, version: pb.ModelVersion) -> Deployment | None:
        found = [self._snapshot.signature_of(version, stage) for stage in version.stages]
        signatures = [signature for signature in found if signature is not None]
        if len(signatures) < len(found):
            return None
        proofs = [self._snapshot.batch_proof_of(version, stage) for stage in version.stages]
        return complete(version, signatures, proofs)

    def _stage_state(self, version: pb.ModelVersion, stage: pb.Stage) -> _StageState:
        ref = StageRef(version.model, version.version, stage.index, version.revision_id)
        key = ref, stage.fingerprint
        workers = self._workers.get(key, [])
        placements = [p for p in self._placements.get(key, []) if p.node in self._nodes]
        ready = {worker.id for worker in workers if worker.state == pb.WORKER_STATE_READY}
        if ready:
            whole = all(worker_id(placement) in ready for placement in placements)
            whole = whole and self._all_placed(version, ref, len(placements))
            return _StageState(ready=True, complete=whole)
        by_id = {worker.id: worker for worker in workers}
        # One that failed before is not counted on until it is ready: who waited for it would wait
        # for each of its tries.
        coming = [w for w in workers if w.state in _COMING and not w.load_error]
        unseen = [p for p in placements if worker_id(p) not in by_id]
        if coming or unseen:
            return _StageState(_coming_reason(coming, unseen))
        failed = [w for w in workers if w.state == pb.WORKER_STATE_FAILED or w.load_error]
        if failed:
            why = failed[0].load_error or failed[0].reason or "it failed"
            return _StageState(why, hope=False, failed=True)
        return self._unplaced(ref)

    def _all_placed(self, version: pb.ModelVersion, ref: StageRef, placed: int) -> bool:
        """Whether *placed* replicas are all that there is room for."""
        wanted = max(1, version.replicas)
        if placed >= wanted:
            return True
        return ref in self._plan.refusals or placed + self._plan.short.get(ref, 0) >= wanted

    @cached_property
    def _plan(self) -> Plan:
        return plan_for(self._snapshot)

    def _unplaced(self, ref: StageRef) -> _StageState:
        """No live node has been told to run the stage: could one?"""
        refusal = self._plan.refusals.get(ref)
        if refusal:
            return _StageState(refusal, hope=False, crowded=True)
        if not self._snapshot.live_schedulers():
            return _StageState("it waits for a scheduler to place it, and none is running")
        return _StageState("it is about to be placed on a node")


def unreadable(error: Exception) -> VersionState:
    """The state of a version whose record says what this release does not understand."""
    reason = (
        f"this release ({penstock.__version__}) does not understand its record, which another one "
        f"may have written: {type(error).__name__}: {error}"
    )
    return VersionState("UNAVAILABLE", reason)


def plan_for(snapshot: Snapshot) -> Plan:
    """Where what *snapshot* knows of should run."""
    return place(
        list(snapshot.versions.values()),
        snapshot.live_nodes(),
        snapshot.placements,
        [one.record for one in snapshot.outgoing],
        snapshot.footprints,
    )


def _key(placed: pb.Placement | pb.Worker) -> tuple[StageRef, str]:
    return stage_of(placed), placed.fingerprint


_COMING = {
    pb.WORKER_STATE_UNSPECIFIED: "is starting",
    pb.WORKER_STATE_LOADING: "is loading",
    pb.WORKER_STATE_DRAINING: "is stopping",
    pb.WORKER_STATE_RESTARTING: "is being restarted",
}


def _coming_reason(coming: Sequence[pb.Worker], unseen: Iterable[pb.Placement]) -> str:
    for worker in coming:
        why = f": {worker.reason}" if worker.reason else ""
        return f"worker {worker.id} {_COMING[worker.state]}{why}"
    return "".join(f"worker {worker_id(p)} is starting" for p in list(unseen)[:1])


def _reason_of(
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
