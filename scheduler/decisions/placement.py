"""Placement: which node runs which worker. Pure: values in, a plan out.

Three rules, in this order. What is right stays where it is. A version gets a first worker for
each of its stages, or none at all; the stages of a language model, which speak to each other at
every token, are a group on one node, or on few nodes that reach each other where none has room for
it. Further replicas go where their stage has fewest workers, then where there is most room.

A version may have two revisions for a while: the published one, and one that retires. The new one's
first workers come before further replicas of the old.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.ledger import Ledger
from penstock.scheduler.decisions.wants import MIB, Place, Unit, Want, units, wants_of
from penstock.scheduler.registry.snapshot import placement_id

NO_PYTHON: Final = (
    "it is a Python model, which is code, and no node runs such code: start a node with "
    "--allow-python-models if you trust what is in the repository"
)


_NONE: Final[Mapping[str, int]] = {}


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision.

    Attributes:
        placements: all of them, in the order of their names.
        refusals: why a stage has no worker at all, for each that has none.
        short: how many replicas a stage lacks, for each that has some but not all.
        moves: how many placements differ from before.
    """

    placements: tuple[pb.Placement, ...]
    refusals: Mapping[StageRef, str]
    short: Mapping[StageRef, int]
    moves: int


def place(
    versions: Iterable[pb.ModelVersion],
    nodes: Iterable[pb.Node],
    current: Iterable[pb.Placement],
    outgoing: Iterable[pb.ModelVersion] = (),
    footprints: Mapping[str, int] = _NONE,
) -> Plan:
    """Decide where every wanted worker runs.

    Args:
        versions: as published; those with an error want nothing.
        nodes: those that live. Draining ones get nothing, and lose what they have.
        current: what was decided before; kept where it is still right.
        outgoing: revisions that are served until others take over, or until nobody waits for them.
        footprints: what workers were measured to hold, by `footprint_id`.
    """
    wants = [w for v in versions for w in wants_of(v, footprints, retires=False)]
    wants += [w for v in outgoing for w in wants_of(v, footprints, retires=True)]
    wants.sort(key=lambda w: (w.stage, w.replica))
    ledger = Ledger(nodes)
    before = {placement_id(p): p for p in current}
    together = units(wants)
    _keep(ledger, (unit for unit in together if not unit[0].yields), before)
    firsts = _by_version(w for w in wants if w.replica == 0)
    for version in firsts:
        _place_all_or_none(ledger, version)
    _keep(ledger, (unit for unit in together if unit[0].yields), before)
    _place_further(ledger, together)
    while _spread(ledger, together):
        # What moved has left room, which would be found the next time: nodes would start workers
        # for no reason that anybody sees. It ends, since nothing that is placed is taken away.
        for version in firsts:
            _place_all_or_none(ledger, version)
        _place_further(ledger, together)
    return _plan(ledger, wants, before)


def _by_version(wants: Iterable[Want]) -> list[list[Want]]:
    """By revision of a version; the wants of one in the order of its stages."""
    groups: dict[StageRef, list[Want]] = {}
    for want in wants:
        groups.setdefault(want.stage._replace(stage=0), []).append(want)
    return list(groups.values())


def _keep(ledger: Ledger, together: Iterable[Unit], before: Mapping[str, pb.Placement]) -> None:
    # A worker stays where it is, whatever else has changed, as long as it may and there is room.
    for unit in together:
        for want in unit:
            old = before.get(want.id)
            if old is not None and ledger.fits(want, Place(old.node, old.device), stays=True):
                ledger.put(want, Place(old.node, old.device))
        there = [want for want in unit if want.id in ledger.placed]
        nodes = {ledger.placed[want.id].node for want in there}
        if len(there) < len(unit) or not ledger.reach_each_other(nodes):
            # What is left of a group is of no use where it is.
            for want in there:
                ledger.take(want)


def _place_all_or_none(ledger: Ledger, wants: Sequence[Want]) -> None:
    # The largest chooses first: a small one in its place would leave none for it.
    missing = sorted(
        units(want for want in wants if not ledger.counts.get(want.stage)),
        key=lambda unit: max(max(want.bytes_on.values()) for want in unit),
        reverse=True,
    )
    put = [unit for unit in missing if ledger.put_anywhere(unit)]
    if len(put) < len(missing):
        for unit in put:
            for want in unit:
                ledger.take(want)


def _place_further(ledger: Ledger, together: Iterable[Unit]) -> None:
    """Place further replicas of what has a first."""
    for unit in sorted(together, key=lambda u: (u[0].retires, u[0].replica, u[0].stage)):
        first = unit[0]
        if ledger.counts.get(first.stage) and first.id not in ledger.placed and not first.yields:
            ledger.put_anywhere(unit)


def _spread(ledger: Ledger, together: Iterable[Unit]) -> bool:
    """Even out replicas that came together when there were fewer nodes; whether any moved.

    A group that nodes share stays: only on one of its own would it be better off.
    """
    moved = False
    replicas: dict[StageRef, list[Unit]] = {}
    for unit in together:
        if unit[0].id in ledger.placed and ledger.is_on_one(unit):
            replicas.setdefault(unit[0].stage, []).append(unit)
    for mates in replicas.values():
        while len(mates) > 1 and _move_one(ledger, mates):
            moved = True
    return moved


def _move_one(ledger: Ledger, mates: Sequence[Unit]) -> bool:
    """Move a replica to a node that has at least two fewer of its stage, if that can be."""

    def node_of(unit: Unit) -> str:
        return ledger.placed[unit[0].id].node

    on_node = Counter(node_of(mate) for mate in mates)
    unit = max(mates, key=lambda mate: (on_node[node_of(mate)], mate[0].replica))
    fewer = {node.id for node in ledger.nodes if on_node[node.id] + 2 <= on_node[node_of(unit)]}
    before = [ledger.placed[want.id] for want in unit]
    kinds = {want.id: ledger.devices[ledger.placed[want.id]].kind for want in unit}

    def may(want: Want, place: Place) -> bool:
        return place.node in fewer and ledger.devices[place].kind == kinds[want.id]

    for want in unit:
        ledger.take(want)
    if ledger.put_on_one(unit, may):
        return True
    for want, place in zip(unit, before, strict=True):
        ledger.put(want, place)
    return False


def _plan(ledger: Ledger, wants: Sequence[Want], before: Mapping[str, pb.Placement]) -> Plan:
    by_id = {w.id: w.at(ledger.placed[w.id]) for w in wants if w.id in ledger.placed}
    refusals: dict[StageRef, str] = {}
    short: dict[StageRef, int] = {}
    for version in _by_version(wants):
        stages = {want.stage: want for want in version}
        reasons = {
            stage: _refusal(ledger, want)
            for stage, want in stages.items()
            if not ledger.counts.get(stage)
        }
        where = _where(ledger) if version[0].grouped else "the nodes together"
        refusals.update(_with_cause(reasons, where))
        for stage in stages:
            placed = len(ledger.counts.get(stage, ()))
            wanted = sum(want.stage == stage for want in version)
            if 0 < placed < wanted:
                short[stage] = wanted - placed
    moves = sum(before.get(id_) != placement for id_, placement in by_id.items())
    moves += len(before.keys() - by_id.keys())
    return Plan(tuple(by_id[id_] for id_ in sorted(by_id)), refusals, short, moves)


def _where(ledger: Ledger) -> str:
    """Where a group has been tried."""
    if ledger.shares_groups:
        return "one node, nor on those with --hop-host together: add memory or a node"
    return (
        "one node together: add memory, export it in other stages, or give nodes --hop-host, so "
        "that they share it"
    )


def _with_cause(reasons: Mapping[StageRef, str | None], where: str) -> dict[StageRef, str]:
    """A stage that could be placed waits for one that cannot: a part of a model is of no use."""
    cause = next(((s, why) for s, why in reasons.items() if why), None)
    if cause is None:
        return dict.fromkeys(reasons, f"the stages of the model do not fit on {where}")
    stage, why = cause
    return {s: own or f"stage {stage.stage} cannot be placed: {why}" for s, own in reasons.items()}


def _refusal(ledger: Ledger, want: Want) -> str | None:
    """Why *want* fits nowhere; None when it would fit by itself."""
    if not ledger.nodes:
        return "no node is running: start one with 'penstock node'"
    if not ledger.devices:
        return "every node is draining: start another node"
    if want.is_python and not ledger.python_nodes:
        return NO_PYTHON
    allowed = [place for place in ledger.devices if ledger.allows(want, place)]
    if not allowed:
        return _no_device(want)
    if any(ledger.fits(want, place) for place in allowed):
        return None
    best = max(allowed, key=lambda place: (ledger.free[place], place))
    needed = want.bytes_on[ledger.devices[best].kind]
    return (
        f"it needs {_mib(needed)} on a {' or '.join(want.kinds)} device, and the most that is "
        f"free is {_mib(ledger.free[best])} (node {best.node}, {best.device}): "
        "add a node or memory, or serve fewer models"
    )


def _no_device(want: Want) -> str:
    if want.gpus:
        wanted = ", ".join(map(str, sorted(want.gpus)))
        return f"no node has cuda device {wanted}: correct instance_group.gpus or add such a node"
    if want.kinds == ("cuda",):
        return "no cuda device on any node: set KIND_CPU or add a node with a GPU"
    return f"no {' or '.join(want.kinds)} device on any node"


def _mib(size: int) -> str:
    return f"{max(0, size) // MIB} MiB"
