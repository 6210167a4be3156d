"""Rollout: which revision of a version requests go to, and which is done for. Pure.

A version's revision changes while requests are under way: its artifact or its configuration was
replaced, another version takes its place, or it is unloaded. The old revision retires: its workers
stay, and requests go to it until all that was published in its place is ready. Then each gateway
leaves it, once nothing that it sent there is unanswered; and when all have left, it is forgotten
and its workers are stopped. What cannot become ready never takes over.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from penstock.models.completion import completed
from penstock.models.config.ensembles import is_ensemble
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.composing import Composer
from penstock.scheduler.decisions.readiness import Routing, VersionState, View
from penstock.scheduler.registry.snapshot import Outgoing, Snapshot, VersionId

UNLOADED: Final = "unloaded"
"""The reason of a version that was unloaded because somebody asked for it, as Triton words it."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """The decision.

    Attributes:
        routings: of all versions that are published, retire, or were unloaded; in order.
        newest: the state of what is published, whether or not requests go to it yet.
        leaving: revisions to which nothing may be sent any more.
    """

    routings: Mapping[VersionId, Routing]
    newest: Mapping[VersionId, VersionState]
    leaving: tuple[Outgoing, ...]


def rollout(snapshot: Snapshot, left: frozenset[str] = frozenset()) -> Rollout:
    """Decide what requests go to.

    Args:
        left: revisions that this process has left, by `Outgoing.left`: it does not go back.
    """
    plain = _decide(snapshot, left, View(snapshot).state_of, ensembles=False, others={})
    composer = Composer(snapshot, plain.routings)
    composed = _decide(snapshot, left, composer.state_of, ensembles=True, others=plain.newest)
    routings = {**_going(snapshot), **plain.routings, **composed.routings}
    completed.turn()
    return Rollout(
        routings=dict(sorted(routings.items())),
        newest={**plain.newest, **composed.newest},
        leaving=(*plain.leaving, *composed.leaving),
    )


def _decide(
    snapshot: Snapshot,
    left: frozenset[str],
    state_of: Callable[[pb.ModelVersion], VersionState],
    *,
    ensembles: bool,
    others: Mapping[VersionId, VersionState],
) -> Rollout:
    """The decision for ensembles, or for all other models.

    Args:
        others: the states of what is published of the other kind: a revision that is broken counts
            as no ensemble.
    """
    published = {
        id_: record for id_, record in snapshot.versions.items() if is_ensemble(record) == ensembles
    }
    outgoing = [one for one in snapshot.outgoing if is_ensemble(one.record) == ensembles]
    newest = {id_: state_of(record) for id_, record in published.items()}
    known = {**others, **newest}
    serving = _best(
        (one, state)
        for one in outgoing
        if one.left not in left and _is_needed(one, known, snapshot)
        if (state := state_of(one.record)).accepting
    )
    routings = {id_: Routing(newest[id_], record) for id_, record in published.items()}
    for id_, (one, state) in serving.items():
        routings[id_] = Routing(_with_newer(state, known.get(id_)), one.record)
    kept = {one.left for one, _ in serving.values()}
    return Rollout(
        routings=routings,
        newest=newest,
        leaving=tuple(one for one in outgoing if one.left not in kept),
    )


def retired(snapshot: Snapshot) -> list[Outgoing]:
    """The revisions whose workers may stop: no gateway sends to them, or waits for them."""
    if not snapshot.outgoing:
        return []
    gateways = snapshot.live_gateways()
    if not gateways:
        return list(rollout(snapshot).leaving)
    left = set.intersection(*(set(gateway.left) for gateway in gateways))
    return [one for one in snapshot.outgoing if one.left in left]


def _is_needed(one: Outgoing, newest: Mapping[VersionId, VersionState], snapshot: Snapshot) -> bool:
    """Whether something was published in its place that is not ready yet."""
    if one.id in newest and newest[one.id].state == "READY":
        return False
    return any(
        state.state != "READY"
        for id_, state in newest.items()
        if id_.model == one.id.model and snapshot.since_ms.get(id_, 0) >= one.since_ms
    )


def _best(
    old: Iterable[tuple[Outgoing, VersionState]],
) -> dict[VersionId, tuple[Outgoing, VersionState]]:
    """One revision for each version: the latest that is ready, or else that comes back."""
    ranked = sorted(old, key=lambda o: (o[1].state == "READY", o[0].since_ms, o[0].field))
    return {one.id: (one, state) for one, state in ranked}


def _with_newer(state: VersionState, newer: VersionState | None) -> VersionState:
    if newer is None or state.reason:
        return state
    doing = "is being loaded" if newer.state == "LOADING" else "cannot be served"
    return replace(state, reason=f"its newer revision {doing}: {newer.reason}")


def _going(snapshot: Snapshot) -> dict[VersionId, Routing]:
    """Versions of which nothing but some workers, or the memory, is left."""
    found: dict[VersionId, Routing] = {}
    for model, load_request in snapshot.load_requests.items():
        answer = snapshot.result_of(model)
        if load_request.unload and answer is not None:
            for version in answer.unloaded:
                state = VersionState("UNAVAILABLE", load_request.reason or UNLOADED)
                found[VersionId(model, version)] = Routing(state, None)
    ids = {one.id for one in snapshot.outgoing}
    ids |= {VersionId(w.model, w.version) for w in snapshot.live_workers()}
    going = VersionState("UNLOADING", "requests in work are answered first")
    return found | dict.fromkeys(ids, Routing(going, None))
