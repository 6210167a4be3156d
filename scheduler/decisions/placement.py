"""Placement: which node runs which worker. Pure: values in, a plan out.

Three rules, in this order. What is right stays where it is. A version gets a first worker for
each of its stages, or none at all. Further replicas go where their stage has fewest workers, then
where there is most room.

A version may have two revisions for a while: the published one, and one that retires. The new one's
first workers come before further replicas of the old.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from penstock.models.config.model_config import PYTHON
from penstock.models.refs import StageRef, suffix
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.scheduler.registry.snapshot import footprint_id, placement_id

MIB: Final = 1 << 20

OVERHEAD_FACTOR: Final = 1.5
"""Weights are held once more while they are optimised, and activations need room."""

SPARE_FACTOR: Final = 1.1
"""What was measured grows a little: requests have other sizes than those it was warmed up with."""

PROCESS_BYTES: Final[Mapping[tuple[str, str], int]] = {
    ("cpu", "onnxruntime"): 96 * MIB,
    ("cpu", "pytorch"): 384 * MIB,
    ("cpu", "python"): 96 * MIB,
    ("cuda", "onnxruntime"): 512 * MIB,
    ("cuda", "pytorch"): 512 * MIB,
    ("cuda", "python"): 512 * MIB,
}
"""What a worker needs before it holds any weights: libraries, or the CUDA context."""

NO_PYTHON: Final = (
    "it is a Python model, which is code, and no node runs such code: start a node with "
    "--allow-python-models if you trust what is in the repository"
)


_NONE: Final[Mapping[str, int]] = {}


class Place(NamedTuple):
    """A device of a node: "cpu:0", "cuda:1"."""

    node: str
    device: str


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


@dataclass(frozen=True, slots=True)
class _Want:
    """One worker that somebody wants.

    Attributes:
        kinds: of devices, the best first.
        gpus: indices of cuda devices; empty for any.
        bytes_on: memory to set aside, by kind of device.
        kept_on: the same where it runs already: that it turned out to be larger ends no worker.
        is_python: only for nodes that run Python models.
    """

    stage: StageRef
    replica: int
    fingerprint: str
    retires: bool
    kinds: tuple[str, ...]
    gpus: frozenset[int]
    bytes_on: Mapping[str, int]
    kept_on: Mapping[str, int]
    is_python: bool = False

    @property
    def id(self) -> str:
        place = f"{self.stage.model}/{self.stage.version}/{self.stage.stage}.{self.replica}"
        return place + suffix(self.stage.revision_id)

    @property
    def yields(self) -> bool:
        """Whether it makes room for the first workers of others."""
        return self.retires and self.replica > 0

    def allows(self, device: pb.Device) -> bool:
        """Whether the owner would have it there, room or not."""
        if device.kind not in self.kinds:
            return False
        return device.kind != "cuda" or not self.gpus or device.index in self.gpus

    def at(self, place: Place) -> pb.Placement:
        return pb.Placement(
            model=self.stage.model,
            version=self.stage.version,
            stage=self.stage.stage,
            replica=self.replica,
            node=place.node,
            device=place.device,
            fingerprint=self.fingerprint,
            revision_id=self.stage.revision_id,
        )


def worker_bytes(stage: pb.Stage, device_kind: str, measured: int = 0) -> int:
    """Memory to set aside on a device of this kind for one worker of *stage*.

    Args:
        measured: bytes that such a worker held once it was ready; 0 where none was yet.
    """
    fixed = PROCESS_BYTES.get((device_kind, stage.runtime), 512 * MIB)
    if measured:
        return max(fixed, int(SPARE_FACTOR * measured))
    return fixed + int(OVERHEAD_FACTOR * stage.artifact_bytes)


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
    wants = [w for v in versions for w in _wants(v, footprints, retires=False)]
    wants += [w for v in outgoing for w in _wants(v, footprints, retires=True)]
    wants.sort(key=lambda w: (w.stage, w.replica))
    ledger = _Ledger(nodes)
    before = {placement_id(p): p for p in current}
    _keep(ledger, (w for w in wants if not w.yields), before)
    for version in _groups(w for w in wants if w.replica == 0):
        _place_all_or_none(ledger, version)
    _keep(ledger, (w for w in wants if w.yields), before)
    for want in sorted(wants, key=lambda w: (w.retires, w.replica, w.stage)):
        if ledger.counts.get(want.stage) and want.id not in ledger.placed and not want.yields:
            ledger.put_anywhere(want)
    _spread(ledger, wants)
    return _plan(ledger, wants, before)


class _Ledger:
    """What each device has left while a plan is made."""

    def __init__(self, nodes: Iterable[pb.Node]) -> None:
        self.nodes = sorted(nodes, key=lambda node: node.id)
        self.python_nodes = {node.id for node in self.nodes if node.runs_python}
        self.devices: dict[Place, pb.Device] = {}
        for node in self.nodes:
            if not node.draining:
                for device in node.devices:
                    self.devices[Place(node.id, f"{device.kind}:{device.index}")] = device
        self.free = {place: device.memory_bytes for place, device in self.devices.items()}
        self.free_to_stay = dict(self.free)
        self.placed: dict[str, Place] = {}
        self.counts: dict[StageRef, list[Place]] = {}
        self._load: dict[str, int] = {}

    def allows(self, want: _Want, place: Place) -> bool:
        """Whether *want* may be there, room or not: its owner and the node would have it."""
        if want.is_python and place.node not in self.python_nodes:
            return False
        return want.allows(self.devices[place])

    def fits(self, want: _Want, place: Place, *, stays: bool = False) -> bool:
        device = self.devices.get(place)
        if device is None or not self.allows(want, place):
            return False
        if stays:
            return want.kept_on[device.kind] <= self.free_to_stay[place]
        return want.bytes_on[device.kind] <= self.free[place]

    def put(self, want: _Want, place: Place) -> None:
        self.free[place] -= want.bytes_on[self.devices[place].kind]
        self.free_to_stay[place] -= want.kept_on[self.devices[place].kind]
        self.placed[want.id] = place
        self.counts.setdefault(want.stage, []).append(place)
        self._load[place.node] = self._load.get(place.node, 0) + 1

    def take(self, want: _Want) -> None:
        place = self.placed.pop(want.id)
        self.free[place] += want.bytes_on[self.devices[place].kind]
        self.free_to_stay[place] += want.kept_on[self.devices[place].kind]
        self.counts[want.stage].remove(place)
        self._load[place.node] -= 1

    def put_anywhere(self, want: _Want) -> bool:
        """Put *want* on the best device that has room for it, if there is one."""
        fitting = [place for place in self.devices if self.fits(want, place)]
        if not fitting:
            return False
        self.put(want, min(fitting, key=lambda place: self.rank(want, place)))
        return True

    def rank(self, want: _Want, place: Place) -> tuple[int, int, int, float, int, Place]:
        """How good a place it is; the least is the best."""
        device = self.devices[place]
        mates = self.counts.get(want.stage, [])
        used = 1 - self.free[place] / max(1, device.memory_bytes)
        return (
            want.kinds.index(device.kind),
            sum(mate.node == place.node for mate in mates),
            mates.count(place),
            round(used, 2),
            self._load.get(place.node, 0),
            place,
        )


def _wants(
    version: pb.ModelVersion, footprints: Mapping[str, int], *, retires: bool
) -> Iterator[_Want]:
    if version.error:
        return
    groups = config_pb.ModelConfig.FromString(version.config).instance_group
    kinds = (version.device_kind,) if version.device_kind else ("cuda", "cpu")
    for stage in version.stages:
        guessed = {kind: worker_bytes(stage, kind) for kind in kinds}
        needs = {
            kind: worker_bytes(stage, kind, footprints.get(footprint_id(version, stage, kind), 0))
            for kind in kinds
        }
        for replica in range(max(1, version.replicas)):
            yield _Want(
                StageRef(version.model, version.version, stage.index, version.revision_id),
                replica,
                stage.fingerprint,
                retires,
                kinds,
                frozenset(gpu for group in groups for gpu in group.gpus),
                needs,
                {kind: min(guessed[kind], needs[kind]) for kind in kinds},
                stage.runtime == PYTHON,
            )


def _groups(wants: Iterable[_Want]) -> list[list[_Want]]:
    """By revision of a version; the wants of one in the order of its stages."""
    groups: dict[StageRef, list[_Want]] = {}
    for want in wants:
        groups.setdefault(want.stage._replace(stage=0), []).append(want)
    return list(groups.values())


def _keep(ledger: _Ledger, wants: Iterable[_Want], before: Mapping[str, pb.Placement]) -> None:
    # A worker stays where it is, whatever else has changed, as long as it may and there is room.
    for want in wants:
        old = before.get(want.id)
        if old is not None and ledger.fits(want, Place(old.node, old.device), stays=True):
            ledger.put(want, Place(old.node, old.device))


def _place_all_or_none(ledger: _Ledger, wants: Sequence[_Want]) -> None:
    # The largest chooses first: a small one in its place would leave none for it.
    missing = sorted(
        (want for want in wants if not ledger.counts.get(want.stage)),
        key=lambda want: max(want.bytes_on.values()),
        reverse=True,
    )
    put = [want for want in missing if ledger.put_anywhere(want)]
    if len(put) < len(missing):
        for want in put:
            ledger.take(want)


def _spread(ledger: _Ledger, wants: Iterable[_Want]) -> None:
    """Even out replicas that came together when there were fewer nodes."""
    replicas: dict[StageRef, list[_Want]] = {}
    for want in wants:
        if want.id in ledger.placed:
            replicas.setdefault(want.stage, []).append(want)
    for mates in replicas.values():
        while len(mates) > 1 and _move_one(ledger, mates):
            pass


def _move_one(ledger: _Ledger, mates: Sequence[_Want]) -> bool:
    """Move a replica to a node that has at least two fewer of its stage, if that can be."""

    def on_node(name: str) -> int:
        return sum(ledger.placed[mate.id].node == name for mate in mates)

    want = max(mates, key=lambda mate: (on_node(ledger.placed[mate.id].node), mate.replica))
    place = ledger.placed[want.id]
    kind = ledger.devices[place].kind
    targets = [
        other
        for other, device in ledger.devices.items()
        if on_node(other.node) + 2 <= on_node(place.node)
        and device.kind == kind
        and ledger.fits(want, other)
    ]
    if not targets:
        return False
    ledger.take(want)
    ledger.put(want, min(targets, key=lambda other: ledger.rank(want, other)))
    return True


def _plan(ledger: _Ledger, wants: Sequence[_Want], before: Mapping[str, pb.Placement]) -> Plan:
    by_id = {w.id: w.at(ledger.placed[w.id]) for w in wants if w.id in ledger.placed}
    refusals: dict[StageRef, str] = {}
    short: dict[StageRef, int] = {}
    for version in _groups(wants):
        stages = {want.stage: want for want in version}
        reasons = {
            stage: _refusal(ledger, want)
            for stage, want in stages.items()
            if not ledger.counts.get(stage)
        }
        refusals.update(_with_cause(reasons))
        for stage in stages:
            placed = len(ledger.counts.get(stage, ()))
            wanted = sum(want.stage == stage for want in version)
            if 0 < placed < wanted:
                short[stage] = wanted - placed
    moves = sum(before.get(id_) != placement for id_, placement in by_id.items())
    moves += len(before.keys() - by_id.keys())
    return Plan(tuple(by_id[id_] for id_ in sorted(by_id)), refusals, short, moves)


def _with_cause(reasons: Mapping[StageRef, str | None]) -> dict[StageRef, str]:
    """A stage that could be placed waits for one that cannot: a part of a model is of no use."""
    cause = next(((s, why) for s, why in reasons.items() if why), None)
    if cause is None:
        return dict.fromkeys(reasons, "the stages of the model do not fit on the nodes together")
    stage, why = cause
    return {s: own or f"stage {stage.stage} cannot be placed: {why}" for s, own in reasons.items()}


def _refusal(ledger: _Ledger, want: _Want) -> str | None:
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


def _no_device(want: _Want) -> str:
    if want.gpus:
        wanted = ", ".join(map(str, sorted(want.gpus)))
        return f"no node has cuda device {wanted}: correct instance_group.gpus or add such a node"
    if want.kinds == ("cuda",):
        return "no cuda device on any node: set KIND_CPU or add a node with a GPU"
    return f"no {' or '.join(want.kinds)} device on any node"


def _mib(size: int) -> str:
    return f"{max(0, size) // MIB} MiB"
