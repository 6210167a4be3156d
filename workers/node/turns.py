"""Turns: how many workers of a machine compute at the same time. Pure."""

from collections.abc import Hashable, Iterable

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.wants import is_grouped
from penstock.scheduler.registry.snapshot import Snapshot


def at_once(placements: Iterable[pb.Placement], snapshot: Snapshot) -> int:
    """How many of the workers of *placements* compute on the CPU at the same time.

    The stages of a group do so in turn, so each may have the cores of all of them.
    """
    on_cpu = (one for one in placements if one.device.startswith("cpu"))
    return len({_turn(placement, snapshot) for placement in on_cpu})


def _turn(placement: pb.Placement, snapshot: Snapshot) -> Hashable:
    """What those have in common that compute in turn."""
    of = placement.model, placement.version, placement.revision_id
    version = snapshot.revision_of(*of)
    grouped = version is not None and is_grouped(version)
    return of, placement.replica, None if grouped else placement.stage
