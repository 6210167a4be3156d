"""Latencies in log-linear buckets: cheap to record, small to send, exact to merge.

Each power of two is divided into 128 equal buckets (as in HdrHistogram), so a bucket is at most
1/128 as wide as the values in it, and a quantile, which is read as the middle of its bucket, is
wrong by at most 0.4 %. Count, sum, least and greatest value are exact.
"""

import math
from collections.abc import Iterator
from typing import Any

_BITS = 7
_PER_OCTAVE = 1 << _BITS
_OCTAVES = 48
"""Values up to 2^55 ns, more than a year; greater ones share the last bucket."""

_BUCKETS = _PER_OCTAVE * (_OCTAVES + 1)


class Histogram:
    """Counts of non-negative integers, here nanoseconds."""

    __slots__ = ("_counts", "count", "greatest", "least", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.least: int | None = None
        self.greatest = 0
        self._counts = [0] * _BUCKETS

    def __repr__(self) -> str:
        return f"Histogram(count={self.count}, least={self.least}, greatest={self.greatest})"

    def record(self, value: int) -> None:
        """Count *value*; a negative one (a clock's whim) counts as 0."""
        value = max(value, 0)
        self._counts[_bucket_of(value)] += 1
        self.count += 1
        self.total += value
        self.greatest = max(self.greatest, value)
        if self.least is None or value < self.least:
            self.least = value

    def quantile(self, share: float) -> float:
        """The least value that at least *share* of all values do not exceed; NaN when empty."""
        if self.least is None:
            return math.nan
        if share >= 1:
            return float(self.greatest)
        rank = max(1, math.ceil(share * self.count))
        seen = 0
        for bucket, count in self.buckets():
            seen += count
            if seen >= rank:
                return min(max(_middle_of(bucket), float(self.least)), float(self.greatest))
        return float(self.greatest)

    def mean(self) -> float:
        """The exact mean; NaN when empty."""
        return self.total / self.count if self.count else math.nan

    def add(self, other: "Histogram") -> None:
        """Count everything that *other* has counted."""
        if other.least is None:
            return
        for bucket, count in other.buckets():
            self._counts[bucket] += count
        self.count += other.count
        self.total += other.total
        self.greatest = max(self.greatest, other.greatest)
        self.least = other.least if self.least is None else min(self.least, other.least)

    def as_json(self) -> dict[str, Any]:
        """Plain values, only the buckets that hold something; `from_json` reads them."""
        return {
            "count": self.count,
            "total": self.total,
            "least": self.least,
            "greatest": self.greatest,
            "buckets": [list(pair) for pair in self.buckets()],
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Histogram":
        """The histogram that `as_json` described."""
        histogram = cls()
        histogram.count, histogram.total = plain["count"], plain["total"]
        histogram.least, histogram.greatest = plain["least"], plain["greatest"]
        for bucket, count in plain["buckets"]:
            histogram._counts[bucket] = count
        return histogram

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Each bucket that holds something, in order, with its count."""
        return ((bucket, count) for bucket, count in enumerate(self._counts) if count)


def _bucket_of(value: int) -> int:
    shift = max(0, value.bit_length() - _BITS - 1)
    return min(shift * _PER_OCTAVE + (value >> shift), _BUCKETS - 1)


def _middle_of(bucket: int) -> float:
    shift = max(0, bucket // _PER_OCTAVE - 1)
    return ((bucket - shift * _PER_OCTAVE) << shift) + ((1 << shift) - 1) / 2
