"""The ledger: what each device has left while a plan is made. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.wants import Place, Unit, Want
from penstock.transport.addresses import is_loopback

_FAR: Final = ""

May = Callable[[Want, Place], bool]
Rank = Callable[[Want, Place], tuple[Any, ...]]


def _network(node: pb.Node) -> str:
    """What those nodes have in common whose workers reach each other: their machine, or more."""
    return node.host if is_loopback(node.hop_host) else _FAR


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
        self._networks: dict[str, list[str]] = {}
        for node in self.nodes:
            if node.hop_host:
                self._networks.setdefault(_network(node), []).append(node.id)

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

    def reach_each_other(self, nodes: Collection[str]) -> bool:
        """Whether workers on *nodes* may be in one group."""
        return len(nodes) == 1 or any(
            set(nodes) <= set(network) for network in self._networks.values()
        )

    def is_on_one(self, unit: Unit) -> bool:
        """Whether all of *unit*, which is placed, is on one node."""
        return len({self.placed[want.id].node for want in unit}) == 1

    @property
    def shares_groups(self) -> bool:
        """Whether there are nodes that can have a group together."""
        return any(len(network) > 1 for network in self._networks.values())

    def put_anywhere(self, unit: Unit) -> bool:
        """Put *unit* on one node, or on several that reach each other where none has room."""
        return self.put_on_one(unit) or self._put_best(unit, self._on_several(unit))

    def put_on_one(self, unit: Unit, may: May = _anywhere) -> bool:
        """Put *unit* on the node where it is best, if one has room for all of it.

        Args:
            may: whether one of it may be there.
        """
        if len(unit) == 1:
            return self._put_best(unit, ((p,) for p in self._fitting(unit[0], self.devices, may)))
        nodes = self._by_node.values()
        return self._put_best(unit, (self._tried(unit, one, may, self.rank) for one in nodes))

    def _put_best(self, unit: Unit, tried: Iterable[tuple[Place, ...]]) -> bool:
        """Put *unit* in the best of the places that were *tried*; empty ones have no room."""
        found = [places for places in tried if places]
        if not found:
            return False
        best = min(found, key=lambda places: self.rank(unit[0], places[0]))
        for want, place in zip(unit, best, strict=True):
            self.put(want, place)
        return True

    def _on_several(self, unit: Unit) -> Iterator[tuple[Place, ...]]:
        """Where *unit* would be in each network that has room for all of it, on few nodes."""

        def rank(want: Want, place: Place) -> tuple[int, bool, int, Place]:
            begun = {self.placed[one.id].node for one in unit if one.id in self.placed}
            kind = want.kinds.index(self.devices[place].kind)
            return kind, place.node not in begun, -self.free[place], place

        return (
            self._tried(unit, self._places(nodes), _anywhere, rank)
            for nodes in self._networks.values()
        )

    def _places(self, nodes: Iterable[str]) -> list[Place]:
        return [place for node in nodes for place in self._by_node.get(node, ())]

    def _tried(
        self, unit: Unit, places: Iterable[Place], may: May, rank: Rank
    ) -> tuple[Place, ...]:
        """Where each of *unit* would be, of *places*; empty if one has no room."""
        put: dict[str, Place] = {}
        # The largest chooses first: a small one in its place would leave none for it.
        for want in sorted(unit, key=lambda want: max(want.bytes_on.values()), reverse=True):
            fitting = self._fitting(want, places, may)
            if fitting:
                put[want.id] = min(fitting, key=lambda place: rank(want, place))
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
