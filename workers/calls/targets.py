"""Targets: the models that a call may be for, as the registry's latest snapshot has them."""

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.errors import ModelNotReady
from penstock.models.config.policies import QueueLimits, default_policy
from penstock.models.config.python_models import is_decoupled
from penstock.models.refs import StageRef
from penstock.scheduler.decisions.readiness import Routing
from penstock.scheduler.decisions.rollout import rollout
from penstock.scheduler.registry.snapshot import Snapshot, VersionId
from penstock.scheduler.requests.ensemble_route import EnsembleRoute
from penstock.scheduler.requests.request_rules import Rules


@dataclass(frozen=True, slots=True)
class Target:
    """A version that takes requests.

    Attributes:
        ref: where they queue first.
        route: of an ensemble; None for other models.
        in_sequences: its requests belong to sequences.
    """

    ref: StageRef
    rules: Rules
    limits: QueueLimits
    decoupled: bool
    route: EnsembleRoute | None = None
    in_sequences: bool = False


class Targets:
    """All versions that take requests."""

    def __init__(self) -> None:
        self._routings: Mapping[VersionId, Routing] = {}

    def update(self, snapshot: Snapshot) -> None:
        """Take over a newer snapshot."""
        routings = rollout(snapshot).routings
        self._routings = {id_: one for id_, one in routings.items() if one.state.accepting}

    def find(self, model: str, version: int) -> Target:
        """The version of *model* to ask; the highest that takes requests for 0.

        Raises:
            ModelNotReady: none does; in Triton's words.
        """
        ids = [id_ for id_ in self._routings if id_.model == model and version in (0, id_.version)]
        target = self._target(max(ids)) if ids else None
        if target is None:
            raise ModelNotReady(
                f"Failed for execute the inference request. Model '{model}' is not ready."
            )
        return target

    def is_ready(self, model: str, version: str) -> bool:
        """Whether a version of *model*, any if none is named, has all that it needs to answer."""
        return any(
            one.state.state == "READY" and id_.model == model and version in ("", str(id_.version))
            for id_, one in self._routings.items()
        )

    def takes_requests(self, ref: StageRef) -> bool:
        """Whether requests still go to that revision."""
        one = self._routings.get(VersionId(ref.model, ref.version))
        return (
            one is not None and one.record is not None and one.record.revision_id == ref.revision_id
        )

    def _target(self, id_: VersionId) -> Target | None:
        one = self._routings[id_]
        deployment, record = one.state.deployment, one.record
        if deployment is None or record is None:
            return None
        config = deployment.config
        if deployment.route is not None:
            route = EnsembleRoute.of(deployment, deployment.route)
            decoupled = is_decoupled(config)
            return Target(route.first, route.rules, route.limits, decoupled, route)
        return Target(
            StageRef(id_.model, id_.version, 0, record.revision_id),
            Rules.of(config, deployment.inputs, deployment.outputs),
            default_policy(config.dynamic_batching).limits,
            is_decoupled(config),
            in_sequences=deployment.sequences is not None,
        )
