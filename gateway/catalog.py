"""The catalog: which model versions there are, as requests ask for them.

Made anew from each snapshot of the registry; what did not change is kept.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from penstock.errors import InvalidRequest, ModelNotFound, ModelNotReady
from penstock.gateway.validation import Rules
from penstock.protos import cluster_pb2
from penstock.scheduler.completion import Deployment
from penstock.scheduler.jobs import QueueLimits
from penstock.scheduler.keys import StageRef
from penstock.scheduler.readiness import VersionState, version_states
from penstock.scheduler.snapshot import Snapshot, VersionId, empty_snapshot

_MOST_DIGITS: Final = 19
"""Of a version, which is an int64; Python refuses to read thousands."""


@dataclass(frozen=True, slots=True)
class Served:
    """A version that takes requests, with what each request needs to know of it."""

    ref: StageRef
    deployment: Deployment
    rules: Rules
    limits: QueueLimits

    @classmethod
    def of(cls, id_: VersionId, deployment: Deployment) -> "Served":
        """Made once for each deployment."""
        policy = deployment.config.dynamic_batching.default_queue_policy
        return cls(
            StageRef(id_.model, id_.version, 0),
            deployment,
            Rules.of(deployment.config, deployment.inputs, deployment.outputs),
            QueueLimits(jobs=policy.max_queue_size),
        )


class Catalog:
    """What this gateway knows of the models; empty until the first snapshot."""

    def __init__(self) -> None:
        self.snapshot: Snapshot = empty_snapshot()
        self.states: Mapping[VersionId, VersionState] = {}
        self._settled = False
        self._served: dict[VersionId, Served] = {}
        self._asked: dict[tuple[str, str], Served] = {}

    def update(self, snapshot: Snapshot) -> None:
        """Take over a newer snapshot."""
        self.snapshot, self.states = snapshot, version_states(snapshot)
        # A scheduler publishes before it announces itself: until then there may be more to come.
        published = bool(snapshot.schedulers or snapshot.versions)
        loading = any(state.state == "LOADING" for state in self.states.values())
        self._settled |= published and not loading
        self._asked.clear()
        self._served = {
            id_: self._kept(id_, state.deployment)
            for id_, state in self.states.items()
            if state.accepting and state.deployment is not None
        }

    def _kept(self, id_: VersionId, deployment: Deployment) -> Served:
        served = self._served.get(id_)
        if served is not None and served.deployment is deployment:
            return served
        return Served.of(id_, deployment)

    def served(self, model: str, version: str) -> Served:
        """The version to send a request to; the highest that takes requests if none is named.

        Raises:
            InvalidRequest, ModelNotFound, ModelNotReady: with Triton's words.
        """
        found = self._asked.get((model, version))
        if found is None:
            found = self._find_served(model, version)
            self._asked[model, version] = found
        return found

    def _find_served(self, model: str, version: str) -> Served:
        number = parse_version(version)
        self._check_known(model, number)
        versions = [id_ for id_ in self._served if id_.model == model]
        if number:
            id_ = VersionId(model, number)
            if id_ not in self._served:
                raise ModelNotReady(
                    f"Request for unknown model: '{model}' version {number} is not at ready state"
                )
            return self._served[id_]
        if not versions:
            raise _none_available(model)
        return self._served[max(versions)]

    def described(self, model: str, version: str) -> tuple[VersionId, Deployment]:
        """The version to answer metadata and configuration for; it must be known, not alive.

        Raises:
            InvalidRequest, ModelNotFound, ModelNotReady: with Triton's words.
        """
        number = parse_version(version)
        if not number:
            ref = self.served(model, version).ref
            number = ref.version
        self._check_known(model, number)
        id_ = VersionId(model, number)
        deployment = self.states[id_].deployment
        if deployment is None:
            raise ModelNotReady(
                f"Request for unknown model: '{model}' version {number} is not at ready state"
            )
        return id_, deployment

    def ready(self, model: str, version: str) -> bool:
        """Whether the version, or any if none is named, has a worker for each stage."""
        number = parse_version(version)
        return any(
            state.state == "READY" and id_.model == model and number in (0, id_.version)
            for id_, state in self.states.items()
        )

    def all_settled(self) -> bool:
        """Whether there was a moment at which nothing was being loaded.

        A model that comes later does not make a server unready that serves the others.
        """
        return self._settled

    def versions_of(self, model: str) -> list[int]:
        """Published versions of the model, lowest first."""
        return sorted(id_.version for id_ in self.states if id_.model == model)

    def records(self) -> Iterable[tuple[VersionId, cluster_pb2.ModelVersion]]:
        """Every published version, in order."""
        return sorted(self.snapshot.versions.items(), key=lambda item: item[0])

    def _check_known(self, model: str, number: int) -> None:
        versions = self.versions_of(model)
        if not versions:
            raise ModelNotFound(f"Request for unknown model: '{model}' is not found")
        if number and number not in versions:
            raise ModelNotFound(
                f"Request for unknown model: '{model}' version {number} is not found"
            )


def _none_available(model: str) -> ModelNotFound:
    return ModelNotFound(f"Request for unknown model: '{model}' has no available versions")


def parse_version(version: str) -> int:
    """A version as requests name it; 0 when it is left to the server.

    Raises:
        InvalidRequest: it is no number.
    """
    if not version:
        return 0
    if version.isascii() and version.isdigit() and len(version) <= _MOST_DIGITS:
        return int(version)
    raise InvalidRequest(
        f"failed to get model version from specified version string '{version}' "
        "(details: not a number), version should be an integral value > 0"
    )
