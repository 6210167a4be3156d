"""Spread: how many requests took, and waited in queues, how long: counted in buckets.

The scripts that end jobs count them (lua/lib/totals.lua), so they are those of the whole cluster. A
counter's name has the bucket's bound, so that releases whose bounds differ go together.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

REQUEST: Final = "request_us:"
QUEUE: Final = "queue_us:"

BOUNDS_US: Final = (
    *(1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000),
    *(1_000_000, 2_500_000, 5_000_000, 10_000_000, 60_000_000),
)
"""Upper bounds, microseconds; what is beyond the last has a bucket of its own."""


class Spread:
    """Buckets of one kind, counted where no script does."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._counts = [0] * (len(BOUNDS_US) + 1)

    def add(self, us: float) -> None:
        """One more, which took *us* microseconds."""
        self._counts[bisect_left(BOUNDS_US, us)] += 1

    def counters(self) -> Iterator[tuple[str, int]]:
        """Names and numbers of the buckets in which there is something."""
        for bound, count in zip((*BOUNDS_US, math.inf), self._counts, strict=True):
            if count:
                yield f"{self._kind}{bound}", count


def spread_of(counters: Mapping[str, int], kind: str) -> dict[float, int]:
    """Bounds -> how many are at most so large, and larger than the bound before; in order."""
    found = {
        float(name.removeprefix(kind)): count
        for name, count in counters.items()
        if name.startswith(kind)
    }
    return dict(sorted(found.items()))


def cumulative(spread: Mapping[float, int]) -> list[tuple[float, int]]:
    """Each bound in seconds, all of `BOUNDS_US` and infinity included, and how many are within."""
    bounds = sorted({*BOUNDS_US, *spread, math.inf})
    found, within = [], 0
    for bound in bounds:
        within += spread.get(bound, 0)
        found.append((bound / 1e6, within))
    return found
