"""Composing: which ensembles can answer, from the states of the models that they are made of.

An ensemble has no workers; it is ready when each step finds a revision of its model that is. As for
other models, why it is not is told in words.
"""

from collections.abc import Mapping

from penstock.errors import InvalidConfiguration
from penstock.models.refs import StageRef
from penstock.models.routes import Component, compose
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.scheduler.decisions.readiness import Routing, VersionState
from penstock.scheduler.registry.snapshot import Snapshot, VersionId


class Composer:
    """Derives ensembles' states from *revisions*, those of all other models."""

    def __init__(self, snapshot: Snapshot, revisions: Mapping[VersionId, Routing]) -> None:
        self._snapshot = snapshot
        self._revisions = dict(revisions)
        self._above: list[str] = []

    def state_of(self, version: pb.ModelVersion) -> VersionState:
        """The state of one revision of an ensemble."""
        if version.model in self._above:
            circle = " -> ".join([*self._above, version.model])
            return VersionState("UNAVAILABLE", f"circular dependency between ensembles: {circle}")
        self._above.append(version.model)
        try:
            return self._state_of(version)
        finally:
            self._above.pop()

    def _state_of(self, version: pb.ModelVersion) -> VersionState:
        config = config_pb.ModelConfig.FromString(version.config)
        found: dict[tuple[str, int], Routing] = {}
        for step in config.ensemble_scheduling.step:
            wanted = (step.model_name, max(0, step.model_version))
            if wanted not in found:
                found[wanted] = self._revision(version.model, *wanted)
        states = {wanted: revision.state for wanted, revision in found.items()}
        bad = {wanted: one for wanted, one in states.items() if one.state == "UNAVAILABLE"}
        if bad:
            crowded = all(one.crowded for one in bad.values())
            failed = any(one.failed for one in bad.values())
            reasons = _reasons_of(bad)
            return VersionState("UNAVAILABLE", reasons, crowded=crowded, failed=failed)
        if not all(one.accepting for one in states.values()):
            return VersionState("LOADING", _reasons_of(states))

        def component(model: str, number: int) -> Component:
            record, deployment = found[model, number].record, states[model, number].deployment
            if record is None or deployment is None:
                raise InvalidConfiguration("a step's model is not known yet")
            ref = StageRef(record.model, record.version, 0, record.revision_id)
            return Component(ref, deployment)

        try:
            deployment = compose(version, component)
        except InvalidConfiguration as error:
            return VersionState("UNAVAILABLE", str(error))
        if all(one.state == "READY" for one in states.values()):
            whole = all(one.complete for one in states.values())
            return VersionState("READY", "", accepting=True, deployment=deployment, complete=whole)
        return VersionState("LOADING", _reasons_of(states), accepting=True, deployment=deployment)

    def _revision(self, ensemble: str, model: str, number: int) -> Routing:
        """What a step gets: the highest version that takes requests, if none is named."""
        there = self._revisions.keys() | self._snapshot.versions.keys()
        ids = (id_ for id_ in there if id_.model == model and number in (0, id_.version))
        known = [self._of(id_) for id_ in sorted(ids, reverse=True)]
        taking = [revision for revision in known if revision.state.accepting]
        coming = [revision for revision in known if revision.state.state == "LOADING"]
        if taking or coming:
            return (taking or coming)[0]
        if self._snapshot.is_load_awaited(model):
            return Routing(VersionState("LOADING", "it is about to be loaded"), None)
        if known:
            return known[0]
        answer = self._snapshot.load_results.get(model)
        why = f": {answer.error}" if answer is not None and answer.error else ""
        named = f"{model} version {number}" if number else model
        reason = (
            f"ensemble {ensemble} contains models that are not available or ambiguous: {named}{why}"
        )
        return Routing(VersionState("UNAVAILABLE", reason), None)

    def _of(self, id_: VersionId) -> Routing:
        if id_ not in self._revisions:
            record = self._snapshot.versions[id_]
            self._revisions[id_] = Routing(self.state_of(record), record)
        return self._revisions[id_]


def _reasons_of(states: Mapping[tuple[str, int], VersionState]) -> str:
    reasons = [
        one.reason if one.reason.startswith("ensemble ") else f"model '{model}': {one.reason}"
        for (model, _), one in states.items()
        if one.reason
    ]
    return "; ".join(reasons)
