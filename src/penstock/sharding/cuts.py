"""Where to cut a model: pure arithmetic over the operations in their order.

The largest stage decides how much memory a worker needs, so that comes first; among the cuts
whose largest stage is within a tolerance of the best possible, those are taken that leave the
fewest stages without weights, and of these the ones over which the fewest bytes travel. All is
solved exactly, by dynamic programming over the cut positions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.sharding.errors import CannotShard, NothingToRun, TooManyStages

TOLERANCE = 0.1
"""How far the largest stage may exceed the best possible, for cheaper cuts."""

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a model, in order.

    Attributes:
        weights: the names of the weights it reads. One read by several steps counts once in
            each stage that holds any of them.
        crossing_bytes: what travels, for each item, when the model is cut right after this
            step; None where it cannot be cut.
    """

    weights: frozenset[str] = frozenset()
    crossing_bytes: int | None = None


def choose_cuts(
    steps: Sequence[Step],
    weight_bytes: Mapping[str, int],
    stages: int,
    tolerance: float = TOLERANCE,
) -> tuple[int, ...]:
    """Cut *steps* into *stages* runs; position p lies right after the first p steps.

    The largest stage has at most ``1 + tolerance`` times the bytes of the best possible largest
    stage. Of all such cuts these leave the fewest stages without weights, of those they have the
    fewest crossing bytes in sum, and of those the most even stages.

    Raises:
        NothingToRun: there are no steps.
        TooManyStages: there are fewer than ``stages - 1`` places to cut.
    """
    if stages < 1:
        raise CannotShard(f"a model has at least one stage, not {stages}")
    places = _crossing_bytes(steps)
    possible = int(np.isfinite(places[1:]).sum()) + 1
    if not steps:
        raise NothingToRun
    if stages > possible:
        raise TooManyStages(stages, possible)
    limit = _smallest_largest_stage(steps, weight_bytes, stages, places) * (1 + tolerance)
    came_from = _cheapest_within(limit, steps, weight_bytes, stages, places)
    cuts: tuple[int, ...] = (len(steps),)
    for row in reversed(came_from[1:]):
        cuts = (int(row[cuts[0]]), *cuts)
    return cuts[:-1]


def _crossing_bytes(steps: Sequence[Step]) -> Floats:
    """By position: the bytes that cross there; infinite where no stage may begin."""
    costs = (step.crossing_bytes for step in steps[:-1])
    return np.array([0.0, *(np.inf if cost is None else cost for cost in costs)], dtype=np.float64)


def _stages_ending_at(
    steps: Sequence[Step], weight_bytes: Mapping[str, int]
) -> Iterator[tuple[int, Floats]]:
    """For each end position, in order: the bytes of the stages that begin at 0 ... end - 1.

    A weight adds to a stage only at its first reading there: the stages that begin after the
    reading before it.
    """
    sizes: Floats = np.zeros(len(steps), dtype=np.float64)
    last_read: dict[str, int] = {}
    for index, step in enumerate(steps):
        for weight in step.weights:
            sizes[last_read.get(weight, 0) : index + 1] += weight_bytes[weight]
            last_read[weight] = index + 1
        yield index + 1, sizes[: index + 1]


def _smallest_largest_stage(
    steps: Sequence[Step], weight_bytes: Mapping[str, int], stages: int, places: Floats
) -> float:
    largest = _rows(stages, len(steps))
    closed = np.where(np.isfinite(places), 0.0, np.inf)
    for end, sizes in _stages_ending_at(steps, weight_bytes):
        for count in range(1, stages + 1):
            largest[count][end] = np.min(np.maximum(largest[count - 1][:end], sizes) + closed[:end])
    return float(largest[stages][-1])


def _cheapest_within(
    limit: float,
    steps: Sequence[Step],
    weight_bytes: Mapping[str, int],
    stages: int,
    places: Floats,
) -> list[Places]:
    """By stage count less one, and end position: where the last stage of the best way begins."""
    # A stage without weights spares no machine any memory: it costs more than all cuts together.
    empty = float(places[np.isfinite(places)].sum()) + 1
    travel, unevenness = _rows(stages, len(steps)), _rows(stages, len(steps))
    came_from = [np.zeros(len(steps) + 1, dtype=np.intp) for _ in range(stages)]
    for end, sizes in _stages_ending_at(steps, weight_bytes):
        unwanted = np.where(sizes <= limit, np.where(sizes > 0, 0.0, empty), np.inf)
        for count in range(1, stages + 1):
            travels = travel[count - 1][:end] + places[:end] + unwanted
            uneven = unevenness[count - 1][:end] + sizes**2
            best = _first_of(travels, uneven)
            travel[count][end], unevenness[count][end] = travels[best], uneven[best]
            came_from[count - 1][end] = best
    return came_from


def _first_of(costs: Floats, ties: Floats) -> int:
    """The place of the smallest cost; of equal ones, that of the smallest tie-break."""
    return int(np.argmin(np.where(costs == costs.min(), ties, np.inf)))


def _rows(stages: int, steps: int) -> list[npt.NDArray[Any]]:
    """By stages so far, and position: infinite, but nothing at all for no stages at the start."""
    rows = [np.full(steps + 1, np.inf, dtype=np.float64) for _ in range(stages + 1)]
    rows[0][0] = 0.0
    return rows
