"""penstock.v1.Cluster: what is running, what has happened, and what was set aside."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from penstock.clock import NO_DEADLINE
from penstock.gateway.delivery.delivery import Delivery
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.models.catalog import Catalog
from penstock.gateway.operations.dead_letters import DeadLetters
from penstock.gateway.operations.key_administration import KeyAdministration
from penstock.gateway.requests.call import Call
from penstock.models.batch_guess import alone
from penstock.models.config.ensembles import is_ensemble
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.protos import cluster_pb2_grpc
from penstock.scheduler.decisions.readiness import VersionState
from penstock.scheduler.observe.loads import Load, loads_of
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.snapshot import VersionId

_SAME_NAMES: Final = (
    *("accepted", "expired", "cancelled", "dead", "crashes", "requeued", "fenced"),
    *("resubmitted", "refused_full", "refused_late"),
    *("prompt_tokens", "generated_tokens", "cached_tokens"),
)


@dataclass(frozen=True)
class ClusterService(cluster_pb2_grpc.ClusterServicer):
    """Answers from the catalog, with what the queues hold read anew (behind `guarded`)."""

    _catalog: Catalog
    _registry: Registry
    _delivery: Delivery
    _letters: DeadLetters
    _keys: KeyAdministration
    _default_timeout_s: float
    _calls: Calls

    async def Status(self, request: pb.StatusRequest, _: Any) -> pb.StatusResponse:  # noqa: N802
        """One consistent picture of the cluster."""
        # Of this moment: what is unloaded while the counters are read was there.
        snapshot, states = self._catalog.snapshot, self._catalog.states
        wanted = [(i, v) for i, v in self._catalog.records() if request.model in ("", i.model)]
        revisions = [v for v in snapshot.revisions() if request.model in ("", v.model)]
        loads = await loads_of(self._delivery.queue, revisions)
        workers = _by_stage(snapshot.live_workers())
        router = self._delivery.router
        counters = await router.statistics((id_, is_ensemble(v)) for id_, v in wanted)
        return pb.StatusResponse(
            nodes=snapshot.live_nodes(),
            gateways=snapshot.live_gateways(),
            schedulers=snapshot.live_schedulers(),
            versions=[
                self._version_status(record, states[id_], _Stages(loads, workers), counted)
                for (id_, record), counted in zip(wanted, counters, strict=True)
            ],
        )

    async def Events(self, request: pb.EventsRequest, _: Any) -> AsyncIterator[pb.Event]:  # noqa: N802
        """What happens, as it happens."""
        async for event in self._registry.events(request.after_id):
            yield event

    async def DeadLetters(  # noqa: N802
        self, request: pb.DeadLettersRequest, _: Any
    ) -> pb.DeadLettersResponse:
        """Jobs that were set aside."""
        return await self._letters.listed(request)

    async def RetryDeadLetter(  # noqa: N802
        self, request: pb.RetryDeadLetterRequest, call: Call
    ) -> pb.RetryDeadLetterResponse:
        """One of them once more, and its reply."""
        self._calls.begin()
        given = call.deadline is not NO_DEADLINE
        remaining_s = call.deadline.remaining_s() if given else self._default_timeout_s
        act = "RetryDeadLetter", request.job
        retrying = self._letters.retry(request.job, remaining_s)
        return await self._letters.auditing.noted(call.caller, call.connection, act, retrying)

    async def ListKeys(self, _: pb.ListKeysRequest, call: Call) -> pb.ListKeysResponse:  # noqa: N802
        """The keys of callers."""
        return await self._keys.listed(call.caller)

    async def CreateKey(self, request: pb.CreateKeyRequest, call: Call) -> pb.KeyResponse:  # noqa: N802
        """A new one, with its secret."""
        return await self._keys.create(request, call.caller, call.connection)

    async def RotateKey(self, request: pb.RotateKeyRequest, call: Call) -> pb.KeyResponse:  # noqa: N802
        """One with a new secret."""
        return await self._keys.rotate(request, call.caller, call.connection)

    async def RevokeKey(  # noqa: N802
        self, request: pb.RevokeKeyRequest, call: Call
    ) -> pb.RevokeKeyResponse:
        """The end of one."""
        return await self._keys.revoke(request, call.caller, call.connection)

    def _version_status(
        self,
        record: pb.ModelVersion,
        state: VersionState,
        stages: "_Stages",
        counted: Mapping[str, int],
    ) -> pb.VersionStatus:
        id_ = VersionId(record.model, record.version)
        return pb.VersionStatus(
            model=id_.model,
            version=id_.version,
            state=state.state,
            reason=state.reason,
            stages=[_stage_status(record, stage, stages) for stage in record.stages],
            counts=_counts(counted),
            batching=self._batching(record, state),
        )

    def _batching(self, record: pb.ModelVersion, state: VersionState) -> str:
        """Whether requests share runs, as `penstock status` shows it."""
        why = self._catalog.snapshot.unsplittable_of(record)
        if why:
            return alone(why)
        return state.deployment.batching if state.deployment is not None else ""


class _Stages(NamedTuple):
    """What is known of all stages: what each has to do, and who does it."""

    loads: Mapping[StageRef, Load]
    workers: Mapping[StageRef, list[pb.Worker]]


def _by_stage(workers: Iterable[pb.Worker]) -> dict[StageRef, list[pb.Worker]]:
    found: dict[StageRef, list[pb.Worker]] = {}
    for worker in workers:
        ref = StageRef(worker.model, worker.version, worker.stage)
        found.setdefault(ref, []).append(worker)
    return found


def _stage_status(record: pb.ModelVersion, stage: pb.Stage, stages: _Stages) -> pb.StageStatus:
    ref = StageRef(record.model, record.version, stage.index)
    load = stages.loads.get(ref, Load())
    return pb.StageStatus(
        index=stage.index,
        artifact=stage.artifact,
        artifact_bytes=stage.artifact_bytes,
        workers=stages.workers.get(ref, []),
        replicas_wanted=record.replicas,
        waiting=load.waiting,
        oldest_waiting_ms=load.oldest_waiting_ms,
        leases=load.leases,
        oldest_lease_ms=load.oldest_lease_ms,
    )


def _counts(counted: Mapping[str, int]) -> pb.VersionCounts:
    """Those of the statistics that say what became of requests."""
    return pb.VersionCounts(
        succeeded=counted.get("success_count", 0),
        failed=counted.get("fail_count", 0),
        **{name: counted.get(name, 0) for name in _SAME_NAMES},
    )
