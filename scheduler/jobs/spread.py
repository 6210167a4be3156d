"""Spread: how many requests took, and waited in queues, how long: counted in buckets.

The scripts that end jobs count them (lua/lib/totals.lua), so they are those of the whole cluster;
gateways count tokens of language models, when they come (`GatewayCounters`). A
counter's name has the bucket's bound, so that releases whose bounds differ go together.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

REQUEST: Final = "request_us:"
QUEUE: Final = "queue_us:"
FIRST_US: Final = "first_token_us:"
NEXT_US: Final = "output_token_us:"

BOUNDS_US: Final = (
    *(1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000),
    *(1_000_000, 2_500_000, 5_000_000, 10_000_000, 60_000_000),
)
"""Upper bounds, microseconds; what is beyond the last has a bucket of its own."""


def bucket_of(us: float) -> str:
    """The name of the bucket of so many microseconds, behind that of its kind."""
    at = bisect_left(BOUNDS_US, us)
    return str(BOUNDS_US[at]) if at < len(BOUNDS_US) else "inf"


class Buckets:
    """Successes that no script sees one by one, counted as these do: see lua/note_direct.lua."""

    def __init__(self) -> None:
        self._took = [0] * (len(BOUNDS_US) + 1)
        self._waited = [0] * (len(BOUNDS_US) + 1)

    def add(self, took_us: float, waited_us: float) -> None:
        """One more, which took and waited so long."""
        self._took[bisect_left(BOUNDS_US, took_us)] += 1
        self._waited[bisect_left(BOUNDS_US, waited_us)] += 1

    def words(self) -> list[str | int]:
        """How many buckets have something, then kind, bound and count of each."""
        bounds: tuple[str | int, ...] = (*BOUNDS_US, "inf")
        found: list[str | int] = []
        for kind, counts in (("request", self._took), ("queue", self._waited)):
            for bound, count in zip(bounds, counts, strict=True):
                if count:
                    found += kind, bound, count
        return [len(found) // 3, *found]


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
    within = accumulate(spread.get(bound, 0) for bound in bounds)
    return [(bound / 1e6, count) for bound, count in zip(bounds, within, strict=True)]
