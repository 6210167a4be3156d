"""Which model versions there are, as requests ask for them.

Made anew from each snapshot of the registry; what did not change is kept.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from penstock.clock import monotonic
from penstock.errors import InvalidRequest, ModelNotFound, ModelNotReady
from penstock.gateway.delivery.reply_order import ReplyOrder
from penstock.models.completion import Deployment
from penstock.models.config.ensembles import is_ensemble
from penstock.models.config.language_models import is_language_model, slots
from penstock.models.config.policies import COUNTED_BYTES, QueueLimits, default_policy, within
from penstock.models.config.python_models import is_decoupled
from penstock.models.refs import StageRef
from penstock.models.sequencing import SequencePlan
from penstock.protos import cluster_pb2
from penstock.scheduler.decisions.readiness import Routing, VersionState
from penstock.scheduler.decisions.rollout import Rollout, rollout
from penstock.scheduler.registry.snapshot import Snapshot, VersionId, empty_snapshot
from penstock.scheduler.requests.ensemble_route import EnsembleRoute
from penstock.scheduler.requests.request_rules import Rules

_MOST_DIGITS: Final = 19
"""Of a version, which is an int64; Python refuses to read thousands."""

_UNLIMITED: Final = QueueLimits()
_MOST_LOGGED: Final = 1000

log = structlog.get_logger()


class ModelUnloaded(ModelNotReady):
    """The model is not loaded, or not yet: a request for it loads it, and waits (on_demand.py).

    Attributes:
        number: of the version; 0 for any.
    """

    def __init__(self, model: str, number: int) -> None:
        super().__init__(f"Request for unknown model: '{model}' is being loaded")
        self.model, self.number = model, number


@dataclass(frozen=True, slots=True)
class Served:
    """A version that takes requests, with what each request needs to know of it.

    Attributes:
        id: the version that clients ask for.
        ref: where its requests queue first.
        cached: its owner asks for a response cache.
        route: of an ensemble.
        limits, bulky_limits: of its queue, for small requests and for others.
        by_level: both, for priority levels.
        order: in which its answers leave; None for as they come.
        language: it answers with text, token by token.
    """

    id: VersionId
    ref: StageRef
    deployment: Deployment
    rules: Rules
    limits: QueueLimits
    decoupled: bool
    cached: bool = False
    route: EnsembleRoute | None = None
    sequences: SequencePlan | None = None
    bulky_limits: QueueLimits = _UNLIMITED
    by_level: Mapping[int, tuple[QueueLimits, QueueLimits]] = field(default_factory=dict)
    order: ReplyOrder | None = None
    language: bool = False

    @property
    def of_texts(self) -> bool:
        """Whether it answers with text, or makes embeddings of it."""
        return self.language or self.deployment.embedder is not None

    def limits_for(self, payload_bytes: int, level: int = 0) -> QueueLimits:
        """What a request of this size must find: bytes are counted of those that matter."""
        small, bulky = self.by_level.get(level, (self.limits, self.bulky_limits))
        return small if payload_bytes < COUNTED_BYTES else bulky

    def within(self, most: QueueLimits) -> "Served":
        """The same, with no larger queue than *most*, those of its later steps included."""
        limits, bulky = within(self.limits, most)
        by_level = {
            level: within(policy.limits, most) for level, policy in self.rules.by_level.items()
        }
        route = None if self.route is None else self.route.within(most)
        return replace(self, limits=limits, bulky_limits=bulky, by_level=by_level, route=route)

    @classmethod
    def of(cls, ref: StageRef, deployment: Deployment) -> "Served":
        """Made once for each deployment."""
        id_ = VersionId(ref.model, ref.version)
        if deployment.route is not None:
            route = EnsembleRoute.of(deployment, deployment.route)
            return cls(
                id_,
                route.first,
                deployment,
                route.rules,
                route.limits,
                is_decoupled(deployment.config),
                route=route,
                order=ReplyOrder() if route.ordered else None,
            )
        batching = deployment.config.dynamic_batching
        return cls(
            id_,
            ref,
            deployment,
            Rules.of(deployment.config, deployment.inputs, deployment.outputs),
            default_policy(batching).limits,
            is_decoupled(deployment.config),
            deployment.config.response_cache.enable,
            order=ReplyOrder() if batching.preserve_ordering else None,
            sequences=deployment.sequences,
            language=is_language_model(deployment.config),
        )

    def is_for(self, ref: StageRef, deployment: Deployment) -> bool:
        """Whether it was made from this *deployment*, or from one that says the same."""
        if self.route is not None:
            # Made anew with each snapshot.
            return self.deployment == deployment
        return self.deployment is deployment and self.ref == ref


class Catalog:
    """What this gateway knows of the models; empty until the first snapshot.

    Attributes:
        left: outgoing revisions that this gateway does not go back to (rollout.py).
        mode: what decides which models are loaded, as schedulers said last.
        response_cache_bytes: that the cluster may use for cached replies, as schedulers said
            last; 0 for no cache.
        caching: the models that have a response cache.
        used_s: model -> when the latest request for it came, on this process's clock; whoever
            tells it to others empties it.
    """

    def __init__(self, limits: QueueLimits = _UNLIMITED) -> None:
        """*limits*: that no queue exceeds, whatever its model says."""
        self._limits = limits
        self.snapshot: Snapshot = empty_snapshot()
        self.rollout: Rollout = rollout(self.snapshot)
        self.states: Mapping[VersionId, VersionState] = {}
        self.left: frozenset[str] = frozenset()
        self._rolled_out_without: frozenset[str] | None = None
        self.mode = "poll"
        self.response_cache_bytes = 0
        self.caching: frozenset[str] = frozenset()
        self.used_s: dict[str, float] = {}
        self._turned = asyncio.Event()
        self._settled = False
        self._served: dict[VersionId, Served] = {}
        self._asked: dict[tuple[str, str], Served] = {}
        self._not_served: dict[StageRef, None] = {}

    def update(self, snapshot: Snapshot) -> None:
        """Take over a newer snapshot."""
        same = snapshot.says_the_same(self.snapshot) and self.left is self._rolled_out_without
        self.snapshot = snapshot
        if not same:
            self._roll_out(snapshot)
        self._turned.set()
        self._turned = asyncio.Event()

    def _roll_out(self, snapshot: Snapshot) -> None:
        """Derive what can be served."""
        self.rollout = rollout(snapshot, self.left)
        self._rolled_out_without = self.left
        self.states = {id_: one.state for id_, one in self.rollout.routings.items()}
        self.mode = snapshot.control_mode() or self.mode
        if (cache_bytes := snapshot.response_cache_bytes()) is not None:
            self.response_cache_bytes = cache_bytes
        # A scheduler publishes before it announces itself: until then there may be more to come.
        published = bool(snapshot.schedulers or snapshot.versions)
        loading = any(state.state == "LOADING" for state in self.states.values())
        self._settled |= published and not loading
        self._asked.clear()
        served = {id_: self._kept(id_, one) for id_, one in self.rollout.routings.items()}
        self._served = {id_: found for id_, found in served.items() if found is not None}
        self.caching = frozenset(id_.model for id_, one in self._served.items() if one.cached)

    async def turn(self, most_s: float | None = None) -> bool:
        """Wait for the next snapshot: it comes when something changes, and each second.

        Returns False when it has not come within *most_s*.
        """
        try:
            async with asyncio.timeout(most_s):
                await self._turned.wait()
        except TimeoutError:
            return False
        return True

    def _kept(self, id_: VersionId, routing: Routing) -> Served | None:
        deployment = routing.state.deployment
        if routing.record is None or deployment is None or not routing.state.accepting:
            return None
        ref = StageRef(id_.model, id_.version, 0, routing.record.revision_id)
        served = self._served.get(id_)
        if served is not None and served.is_for(ref, deployment):
            return served
        try:
            return Served.of(ref, deployment).within(self._limits)
        except Exception:
            if ref not in self._not_served:
                log.exception("a version cannot be served", queue=ref.queue)
            self._not_served[ref] = None
            while len(self._not_served) > _MOST_LOGGED:
                del self._not_served[next(iter(self._not_served))]
            return None

    def text_models(self) -> list[str]:
        """The names of the models that answer with text, or make embeddings of it."""
        return sorted({id_.model for id_, one in self._served.items() if one.of_texts})

    def slots(self) -> dict[VersionId, int]:
        """Versions of language models that take requests -> answers at a time of each worker."""
        served = self._served.items()
        return {id_: slots(one.deployment.config) for id_, one in served if one.language}

    def served(self, model: str, version: str) -> Served:
        """The version to send a request to; the highest that takes requests if none is named.

        Raises:
            InvalidRequest, ModelNotFound, ModelNotReady: with Triton's words.
            ModelUnloaded: a request for it loads it.
        """
        found = self._asked.get((model, version))
        if found is None:
            found = self._find_served(model, version)
            self._asked[model, version] = found
        self.used_s[model] = monotonic()
        return found

    def still_serves(self, model: str, version: str, served: Served) -> bool:
        """Whether requests that name this version go to *served*, as they did before."""
        if self._asked.get((model, version)) is not served:
            return False
        self.used_s[model] = monotonic()
        return True

    def _find_served(self, model: str, version: str) -> Served:
        number = parse_version(version)
        if self.lacks(model, number):
            raise ModelUnloaded(model, number)
        self._check_known(model, number)
        versions = [id_ for id_ in self._served if id_.model == model]
        if number:
            id_ = VersionId(model, number)
            if id_ not in self._served:
                raise _not_ready(model, number)
            return self._served[id_]
        if not versions:
            raise self._none_available(model)
        return self._served[max(versions)]

    def _none_available(self, model: str) -> ModelNotFound | ModelNotReady:
        """Why the model takes no requests: later it may, if one of its versions is being loaded."""
        coming = [
            id_.version
            for id_, state in self.rollout.newest.items()
            if id_.model == model and (state.state == "LOADING" or state.failed)
        ]
        if coming:
            return _not_ready(model, max(coming))
        return ModelNotFound(f"Request for unknown model: '{model}' has no available versions")

    def failures(self, refs: Iterable[StageRef]) -> dict[StageRef, ModelNotReady]:
        """Those of *refs* that nobody runs: whoever tried to load their shards has failed."""
        found: dict[StageRef, ModelNotReady] = {}
        for ref in refs:
            one = self.rollout.routings.get(VersionId(ref.model, ref.version))
            if one is None or one.record is None or one.record.revision_id != ref.revision_id:
                continue
            if one.state.failed:
                found[ref] = _not_ready(ref.model, ref.version)
        return found

    def serving(self, ref: StageRef) -> Served | None:
        """What takes requests at that first stage; None when nothing does any more."""
        served = self._served.get(VersionId(ref.model, ref.version))
        return served if served is not None and served.ref == ref else None

    def lacks(self, model: str, number: int) -> bool:
        """Whether models are loaded on demand, and this one will be, or is on its way."""
        if self.mode != "on-demand" or self._takes(model, number):
            return False
        newest = self.rollout.newest
        published = [id_ for id_ in newest if id_.model == model]
        if not published:
            load_request = self.snapshot.load_requests.get(model)
            return model in self.snapshot.available or bool(
                load_request is not None and load_request.files
            )
        asked = [id_ for id_ in published if number in (0, id_.version)]
        return any(newest[id_].state == "LOADING" or newest[id_].crowded for id_ in asked)

    def _takes(self, model: str, number: int) -> bool:
        return any(id_.model == model and number in (0, id_.version) for id_ in self._served)

    def described(self, model: str, version: str) -> tuple[VersionId, Deployment]:
        """The version to answer metadata and configuration for; it must be known, not alive.

        Raises:
            InvalidRequest, ModelNotFound, ModelNotReady: with Triton's words.
        """
        number = parse_version(version)
        if self.lacks(model, number):
            raise ModelUnloaded(model, number)
        if not number:
            number = self.served(model, version).id.version
        self._check_known(model, number)
        id_ = VersionId(model, number)
        deployment = self.states[id_].deployment
        if deployment is None:
            raise _not_ready(model, number)
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
        """Versions of the model that are published, or served still, lowest first."""
        return sorted(id_.version for id_, _ in self.records() if id_.model == model)

    def records(self) -> Iterable[tuple[VersionId, cluster_pb2.ModelVersion]]:
        """Every version that is published, or served still, in order: what requests go to."""
        for id_, one in self.rollout.routings.items():
            if one.record is not None:
                yield id_, one.record

    def is_ensemble(self, id_: VersionId) -> bool:
        """Whether requests to the version go to an ensemble."""
        one = self.rollout.routings.get(id_)
        return one is not None and one.record is not None and is_ensemble(one.record)

    def _check_known(self, model: str, number: int) -> None:
        versions = [id_.version for id_ in self.states if id_.model == model]
        if not versions:
            raise ModelNotFound(f"Request for unknown model: '{model}' is not found")
        if number and number not in versions:
            raise ModelNotFound(
                f"Request for unknown model: '{model}' version {number} is not found"
            )


def _not_ready(model: str, number: int) -> ModelNotReady:
    return ModelNotReady(
        f"Request for unknown model: '{model}' version {number} is not at ready state"
    )


def parse_version(version: str) -> int:
    """A version as requests name it; 0 when it is left to the server.

    Raises:
        InvalidRequest: it is no number above 0.
    """
    if not version:
        return 0
    why = " (details: not a number)"
    if version.isascii() and version.isdigit() and len(version) <= _MOST_DIGITS:
        if number := int(version):
            return number
        why = ""
    raise InvalidRequest(
        f"failed to get model version from specified version string '{version}'{why}, "
        "version should be an integral value > 0"
    )
