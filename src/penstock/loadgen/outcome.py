"""What a load led to: counts, latencies, errors. Mergeable over processes."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from penstock.loadgen.histogram import Histogram

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}

_NS_PER_MS = 1e6


@dataclass(slots=True)
class Outcome:
    """What was counted in the measured time.

    Attributes:
        duration_s: the measured time.
        answered: good answers that arrived within it; throughput is made of these.
        latency: in nanoseconds, of the good answers to requests that were sent within it; in an
            open loop from the moment at which the request was due, so that a stalled server's
            whole delay is seen (no coordinated omission).
        lateness: open loop only: how late the generator itself sent. When it is large, the
            generator is what was measured.
        errors: requests sent within the time that failed, by status code.
        messages: one error text for each code.
    """

    duration_s: float
    answered: int = 0
    latency: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)

    @property
    def throughput_per_s(self) -> float:
        """Good answers a second."""
        return self.answered / self.duration_s

    @property
    def failed(self) -> int:
        """All errors."""
        return self.errors.total()

    def latency_ms(self, share: float) -> float:
        """The quantile *share* of the latencies."""
        return self.latency.quantile(share) / _NS_PER_MS

    def add(self, other: "Outcome") -> None:
        """Take in what another process counted in the same time."""
        self.answered += other.answered
        self.latency.add(other.latency)
        self.lateness.add(other.lateness)
        self.errors.update(other.errors)
        self.messages = other.messages | self.messages

    def as_json(self) -> dict[str, Any]:
        """Everything, for the other processes; `from_json` reads it."""
        return {
            "duration_s": self.duration_s,
            "answered": self.answered,
            "latency": self.latency.as_json(),
            "lateness": self.lateness.as_json(),
            "errors": dict(self.errors),
            "messages": self.messages,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Outcome":
        """The outcome that `as_json` described."""
        times = {name: Histogram.from_json(plain[name]) for name in ("latency", "lateness")}
        return cls(**plain | times | {"errors": Counter(plain["errors"])})

    def summary(self) -> dict[str, Any]:
        """The numbers that people and scripts want; None where nothing was measured."""
        return {
            "requests": self.answered,
            "throughput_per_s": round(self.throughput_per_s, 3),
            "latency_ms": _milliseconds(self.latency),
            "send_lateness_ms": _milliseconds(self.lateness) if self.lateness.count else None,
            "errors": dict(self.errors),
            "error_messages": self.messages,
        }


def _milliseconds(histogram: Histogram) -> dict[str, float] | None:
    """Mean, quantiles and extremes; JSON has no NaN, so None when nothing was recorded."""
    if histogram.least is None:
        return None
    values = {"mean": histogram.mean(), "min": float(histogram.least)}
    values |= {name: histogram.quantile(share) for name, share in QUANTILES.items()}
    values["max"] = float(histogram.greatest)
    return {name: round(value / _NS_PER_MS, 4) for name, value in values.items()}
