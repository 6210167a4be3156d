"""Custom metrics of Triton's Python models: numbers with names and labels."""

import math
import re
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Final

from penstock.workers.runtimes.triton_python.errors import TritonModelException

MOST_METRICS: Final = 256
"""Of one model; each is a line, or with buckets several, in what gateways show."""


_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SERVERS: Final = ("nv_", "penstock_")


class MetricKind(IntEnum):
    """Triton's kinds of metrics."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


class Metric:
    """One number, or one histogram, of a family; safe to use from several threads."""

    def __init__(
        self, kind: MetricKind, labels: Mapping[str, str], buckets: Sequence[float]
    ) -> None:
        self._kind = kind
        self.labels = dict(labels)
        self._buckets = tuple(buckets)
        self._lock = threading.Lock()
        self._value = 0.0
        self._counts = [0] * (len(buckets) + 1)

    def increment(self, value: float) -> None:
        """Add *value*; a counter takes none below zero.

        Raises:
            TritonModelException: it is a histogram, or would go back.
        """
        self._refuse_unless(self._kind is not MetricKind.HISTOGRAM, "increment")
        if self._kind is MetricKind.COUNTER and value < 0:
            raise TritonModelException(
                "TRITONSERVER_METRIC_KIND_COUNTER can only be incremented monotonically by "
                "non-negative values."
            )
        with self._lock:
            self._value += value

    def set(self, value: float) -> None:
        """Make it *value*.

        Raises:
            TritonModelException: it is no gauge.
        """
        if self._kind is MetricKind.COUNTER:
            raise TritonModelException("TRITONSERVER_METRIC_KIND_COUNTER does not support Set")
        self._refuse_unless(self._kind is MetricKind.GAUGE, "Set")
        self._value = float(value)

    def observe(self, value: float) -> None:
        """Count *value* in its bucket.

        Raises:
            TritonModelException: it is no histogram.
        """
        self._refuse_unless(self._kind is MetricKind.HISTOGRAM, "Observe")
        with self._lock:
            self._value += value
            self._counts[bisect_left(self._buckets, value)] += 1

    def value(self) -> float:
        """What it is now.

        Raises:
            TritonModelException: it is a histogram.
        """
        self._refuse_unless(self._kind is not MetricKind.HISTOGRAM, "Value")
        return self._value

    def samples(self, name: str) -> Iterator[tuple[str, dict[str, str], float]]:
        """Its lines in Prometheus's format: name, labels and number of each."""
        if self._kind is not MetricKind.HISTOGRAM:
            yield name, self.labels, self._value
            return
        total = 0
        for bound, count in zip((*self._buckets, math.inf), self._counts, strict=True):
            total += count
            text = "+Inf" if math.isinf(bound) else repr(float(bound))
            yield f"{name}_bucket", {**self.labels, "le": text}, float(total)
        yield f"{name}_sum", self.labels, self._value
        yield f"{name}_count", self.labels, float(total)

    def _refuse_unless(self, fits: bool, what: str) -> None:  # noqa: FBT001
        if not fits:
            raise TritonModelException(
                f"TRITONSERVER_METRIC_KIND_{self._kind.name} does not support {what}"
            )


class MetricFamily:
    """Metrics of one name and kind, told apart by their labels."""

    MetricKind: Final = MetricKind
    COUNTER: Final = MetricKind.COUNTER
    GAUGE: Final = MetricKind.GAUGE
    HISTOGRAM: Final = MetricKind.HISTOGRAM

    def __init__(self, name: str, description: str, kind: int) -> None:
        """A family; one of the same name and kind that there is already goes on.

        Raises:
            TritonModelException: there is one of another kind; or it is no name, or a server's.
        """
        if _NAME.fullmatch(name) is None or name.startswith(_SERVERS):
            raise TritonModelException(
                f"Failed to create metric family '{name}': a name has letters, digits, '_' and "
                f"':', and does not begin with {' or '.join(_SERVERS)}"
            )
        self.name, self.description, self.kind = name, description, MetricKind(kind)
        before = _families.setdefault(name, self)
        if before.kind is not self.kind:
            raise TritonModelException(
                f"Failed to create metric family '{name}': it is a {before.kind.name} already"
            )
        self.metrics: dict[tuple[tuple[str, str], ...], Metric] = (
            before.metrics if before is not self else {}
        )

    def Metric(  # noqa: N802 - Triton calls it so
        self, labels: Mapping[str, str] | None = None, buckets: Sequence[float] | None = None
    ) -> Metric:
        """The metric with these labels; a histogram needs its buckets' upper bounds.

        Raises:
            TritonModelException: the buckets are missing, or do not rise; there are too many.
        """
        self._check(buckets)
        for label in labels or {}:
            if not isinstance(label, str) or _LABEL.fullmatch(label) is None:
                raise TritonModelException(f"Failed to create metric. '{label}' is no label.")
        key = tuple(sorted((labels or {}).items()))
        if key not in self.metrics:
            if sum(len(family.metrics) for family in _families.values()) >= MOST_METRICS:
                raise TritonModelException(
                    f"a model may have {MOST_METRICS} custom metrics, and this would be one more"
                )
            self.metrics[key] = Metric(self.kind, labels or {}, buckets or ())
        return self.metrics[key]

    def _check(self, buckets: Sequence[float] | None) -> None:
        if self.kind is not MetricKind.HISTOGRAM:
            if buckets is not None:
                raise TritonModelException("Failed to create metric. Unexpected buckets found.")
            return
        if buckets is None:
            raise TritonModelException("Failed to create metric. Missing required buckets.")
        if any(low >= high for low, high in pairwise(buckets)):
            raise TritonModelException("Failed to create metric. Buckets must rise.")


_families: dict[str, MetricFamily] = {}


def families() -> list[MetricFamily]:
    """All families of this process's model."""
    return list(_families.values())


def samples_of(family: MetricFamily) -> list[tuple[str, dict[str, str], float]]:
    """The lines of all metrics of *family*."""
    found = list(family.metrics.values())
    return [line for metric in found for line in metric.samples(family.name)]
