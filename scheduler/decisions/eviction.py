"""Eviction: which models make room for those that are asked for. Pure.

Where models are loaded on demand, one that finds no room is given that of the least recently used
ones which nobody uses now. What nobody waits for any more, and never found room, is given up.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from penstock.models.config.ensembles import users
from penstock.scheduler.decisions.placement import Plan, place
from penstock.scheduler.registry.snapshot import Snapshot

IDLE_MS: Final = 2500
"""A model that nobody has used for this long may be unloaded; gateways tell once a second."""

PATIENCE_MS: Final = 3500
"""A model that nobody has asked for, for this long, is not waited for any more."""

_SPARED_ONE_BY_ONE: Final = 16


class Eviction(NamedTuple):
    """A model to unload, and the reason that people read."""

    model: str
    reason: str


def evictions(snapshot: Snapshot, plan: Plan, kept: frozenset[str]) -> list[Eviction]:
    """What to unload now.

    Args:
        plan: for *snapshot*; whatever it refuses lacks room.
        kept: models that are never unloaded to make room.
    """
    used_by = users(snapshot.versions.values())
    kept |= {model for model, ensembles in used_by.items() if ensembles & kept}
    return [
        Eviction(ensemble, found.reason)
        for found in _evictions(snapshot, plan, kept)
        # An ensemble comes back as a whole.
        for ensemble in (found.model, *sorted(used_by.get(found.model, ())))
    ]


def _evictions(snapshot: Snapshot, plan: Plan, kept: frozenset[str]) -> list[Eviction]:
    refused = _refused(snapshot, plan)
    given_up: list[Eviction] = []
    for model in sorted(refused, key=lambda model: _requested_ms(model, snapshot)):
        if model not in kept and not _is_awaited(model, snapshot):
            given_up.append(Eviction(model, f"nobody waits for it any more: {refused[model]}"))
            continue
        victims = _victims(model, snapshot, _idle(snapshot, kept | refused.keys()))
        if victims:
            return given_up + [_eviction_of(victim, model, snapshot) for victim in victims]
        others = _loaded(snapshot) - kept - {model}
        if victims is None and model not in kept and not _fits_without(model, snapshot, others):
            given_up.append(Eviction(model, refused[model]))
    return given_up


def _fits_without(model: str, snapshot: Snapshot, others: Iterable[str]) -> bool:
    """Whether *model* fits once *others*, and what is on its way out, are gone."""
    there = _loaded(snapshot) - set(others)
    plan = place(
        [record for id_, record in snapshot.versions.items() if id_.model in there],
        snapshot.live_nodes(),
        [placement for placement in snapshot.placements if placement.model in there],
        [one.record for one in snapshot.outgoing if one.record.model in there],
        snapshot.footprints,
    )
    return not any(ref.model == model for ref in plan.refusals)


def _victims(model: str, snapshot: Snapshot, idle: Sequence[str]) -> list[str] | None:
    """As few of *idle* as make room for it, the first ones first; None when all are too few."""
    if not _fits_without(model, snapshot, idle):
        return None
    few, enough = -1, len(idle)
    while enough - few > 1:
        middle = (few + enough) // 2
        if _fits_without(model, snapshot, idle[:middle]):
            enough = middle
        else:
            few = middle
    chosen = list(idle[:enough])
    if len(chosen) <= _SPARED_ONE_BY_ONE:
        for victim in reversed(chosen[:-1]):
            if _fits_without(model, snapshot, set(chosen) - {victim}):
                chosen.remove(victim)
    return chosen


def _loaded(snapshot: Snapshot) -> set[str]:
    """The models that are there and are to stay."""
    going = {model for model, load_request in snapshot.load_requests.items() if load_request.unload}
    return {id_.model for id_ in snapshot.versions} - going


def _idle(snapshot: Snapshot, excepted: frozenset[str] | set[str]) -> list[str]:
    """Models that nobody uses, the least recently used first."""
    last_ms = {model: _last_ms(model, snapshot) for model in _loaded(snapshot) - excepted}
    idle = [model for model, at in last_ms.items() if snapshot.now_ms - at > IDLE_MS]
    return sorted(idle, key=lambda model: (last_ms[model], model))


def _is_awaited(model: str, snapshot: Snapshot) -> bool:
    return snapshot.now_ms - _last_ms(model, snapshot) <= PATIENCE_MS


def _last_ms(model: str, snapshot: Snapshot) -> float:
    """When it was last used, or requested, or an ensemble that needs it."""
    names = (model, *users(snapshot.versions.values()).get(model, ()))
    return max(max(snapshot.used_ms.get(n, 0.0), _requested_ms(n, snapshot)) for n in names)


def _requested_ms(model: str, snapshot: Snapshot) -> float:
    load_request = snapshot.load_requests.get(model)
    return float(load_request.time_ms) if load_request is not None else 0.0


def _eviction_of(victim: str, model: str, snapshot: Snapshot) -> Eviction:
    idle_s = (snapshot.now_ms - _last_ms(victim, snapshot)) / 1000
    since = f"for {idle_s:.0f} s" if victim in snapshot.used_ms else "since it was loaded"
    return Eviction(victim, f"unloaded to make room for '{model}': nobody had used it {since}")


def _refused(snapshot: Snapshot, plan: Plan) -> dict[str, str]:
    """Why a published revision has no room, by model."""
    published = {
        (record.model, record.version, record.revision_id) for record in snapshot.versions.values()
    }
    return {
        ref.model: why
        for ref, why in plan.refusals.items()
        if (ref.model, ref.version, ref.revision_id) in published and ref.model in _loaded(snapshot)
    }
