"""The ledger: what each device has left while a plan is made. Pure."""

from collections.abc import Callable, Iterable

from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.wants import Place, Unit, Want

May = Callable[[Want, Place], bool]


def _anywhere(want: Want, place: Place) -> bool:
    del want, place
    return True


class Ledger:
    """Which wants are where, and what is left.

    Attributes:
        free, free_to_stay: bytes of each device for what comes, and for what is there already.
        placed: where each want is, by its id.
        counts: where the replicas of each stage are.
    """

    def __init__(self, nodes: Iterable[pb.Node]) -> None:
        self.nodes = sorted(nodes, key=lambda node: node.id)
        self.python_nodes = {node.id for node in self.nodes if node.runs_python}
        self.devices: dict[Place, pb.Device] = {}
        self._by_node: dict[str, list[Place]] = {}
        for node in self.nodes:
            if not node.draining:
                for device in node.devices:
                    place = Place(node.id, f"{device.kind}:{device.index}")
                    self.devices[place] = device
                    self._by_node.setdefault(node.id, []).append(place)
        self.free = {place: device.memory_bytes for place, device in self.devices.items()}
        self.free_to_stay = dict(self.free)
        self.placed: dict[str, Place] = {}
        self.counts: dict[StageRef, list[Place]] = {}
        self._load: dict[str, int] = {}

    def allows(self, want: Want, place: Place) -> bool:
        """Whether *want* may be there, room or not: its owner and the node would have it."""
        if want.is_python and place.node not in self.python_nodes:
            return False
        return want.allows(self.devices[place])

    def fits(self, want: Want, place: Place, *, stays: bool = False) -> bool:
        """Whether there is room for *want*, which *stays* there or comes."""
        device = self.devices.get(place)
        if device is None or not self.allows(want, place):
            return False
        if stays:
            return want.kept_on[device.kind] <= self.free_to_stay[place]
        return want.bytes_on[device.kind] <= self.free[place]

    def put(self, want: Want, place: Place) -> None:
        """Have *want* there."""
        self.free[place] -= want.bytes_on[self.devices[place].kind]
        self.free_to_stay[place] -= want.kept_on[self.devices[place].kind]
        self.placed[want.id] = place
        self.counts.setdefault(want.stage, []).append(place)
        self._load[place.node] = self._load.get(place.node, 0) + 1

    def take(self, want: Want) -> None:
        """Have *want* nowhere any more."""
        place = self.placed.pop(want.id)
        self.free[place] += want.bytes_on[self.devices[place].kind]
        self.free_to_stay[place] += want.kept_on[self.devices[place].kind]
        self.counts[want.stage].remove(place)
        self._load[place.node] -= 1

    def put_anywhere(self, unit: Unit, may: May = _anywhere) -> bool:
        """Put *unit* where it is best, if there is room for all of it on one node.

        Args:
            may: whether one of it may be there.
        """
        found: list[tuple[Place, ...]]
        if len(unit) == 1:
            found = [(place,) for place in self._fitting(unit[0], self.devices, may)]
        else:
            tried = (self._tried(unit, places, may) for places in self._by_node.values())
            found = [places for places in tried if places]
        if not found:
            return False
        best = min(found, key=lambda places: self.rank(unit[0], places[0]))
        for want, place in zip(unit, best, strict=True):
            self.put(want, place)
        return True

    def _tried(self, unit: Unit, places: Iterable[Place], may: May) -> tuple[Place, ...]:
        """Where each of *unit* would be, of the *places* of a node; empty if one has no room."""
        put: dict[str, Place] = {}
        # The largest chooses first: a small one in its place would leave none for it.
        for want in sorted(unit, key=lambda want: max(want.bytes_on.values()), reverse=True):
            fitting = self._fitting(want, places, may)
            if fitting:
                put[want.id] = min(fitting, key=lambda place: self.rank(want, place))
                self.put(want, put[want.id])
        for want in unit:
            if want.id in put:
                self.take(want)
        return tuple(put[want.id] for want in unit) if len(put) == len(unit) else ()

    def _fitting(self, want: Want, places: Iterable[Place], may: May) -> list[Place]:
        return [place for place in places if self.fits(want, place) and may(want, place)]

    def rank(self, want: Want, place: Place) -> tuple[int, int, int, float, int, Place]:
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
