"""Metrics in Prometheus's text format: Triton's names, and Penstock's for what Triton lacks.

What is counted is counted in Redis by the scripts that make it true, so the numbers are those of
the whole cluster, whichever gateway is asked; docs/metrics.md describes each. Pure: the facts are
read by fronts/http/metrics_endpoint.py.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock.gateway.operations.language_metrics import (
    LanguageFacts,
    language_families,
    spread_families,
)
from penstock.gateway.operations.machine_metrics import Machines, build, machine_families
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2
from penstock.scheduler.jobs.spread import QUEUE, REQUEST
from penstock.scheduler.observe.custom_metrics import CustomFamily
from penstock.scheduler.observe.loads import Load
from penstock.scheduler.observe.usage import Usage
from penstock.scheduler.registry.snapshot import VersionId, state_of

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_OF_VERSION: Final = ("model", "version")
_OF_STAGE: Final = (*_OF_VERSION, "stage")

# Name, text, counter, and what it is divided by: Triton counts in microseconds.
_TRITON: Final = (
    ("inference_request_success", "Number of successful inference requests", "success_count", 1),
    ("inference_count", "Inferences performed: requests times their rows", "inference_count", 1),
    ("inference_exec_count", "Number of batches executed", "execution_count", 1),
    ("inference_request_duration_us", "Cumulative time from request to reply", "success_ns", 1000),
    ("inference_queue_duration_us", "Cumulative time in queues", "queue_ns", 1000),
    (
        "inference_compute_input_duration_us",
        "Cumulative time of copying in",
        "compute_input_ns",
        1000,
    ),
    (
        "inference_compute_infer_duration_us",
        "Cumulative time of computing",
        "compute_infer_ns",
        1000,
    ),
    (
        "inference_compute_output_duration_us",
        "Cumulative time of copying out",
        "compute_output_ns",
        1000,
    ),
)
# Zero for models that have no cache.
_CACHE: Final = (
    ("cache_num_hits_per_model", "Number of response cache hits", "cache_hit_count", 1),
    ("cache_num_misses_per_model", "Number of response cache misses", "cache_miss_count", 1),
    ("cache_hit_duration_per_model", "Cumulative time of hits", "cache_hit_ns", 1000),
    ("cache_miss_duration_per_model", "Cumulative time of misses", "cache_miss_ns", 1000),
)
# A request that the cache answered has succeeded, without a job.
_WITH: Final = {"success_count": "cache_hit_count", "success_ns": "cache_hit_ns"}
_FAILURES: Final = {
    "REJECTED": ("expired", "refused_full", "refused_late"),
    "CANCELED": ("cancelled",),
    "BACKEND": ("fail_count", "dead"),
    "OTHER": (),
}
_PENSTOCK: Final = (
    ("accepted", "Requests that were accepted"),
    ("direct", "Requests that a gateway handed to a sleeping worker on its machine"),
    ("crashes", "Jobs that lost their worker while it had them"),
    ("requeued", "Jobs queued again because their worker died"),
    ("dead", "Jobs set aside because they ended their workers"),
    ("cancelled", "Requests whose clients gave up"),
    ("expired", "Requests whose time was over"),
    ("fenced", "Results refused because their worker had lost its lease"),
    (
        "resubmitted",
        "Requests queued again: Redis had forgotten them, or their worker could not read them",
    ),
)
_SPREADS: Final = (
    ("request", "Seconds from a request's acceptance to its reply", REQUEST, "success_ns"),
    ("queue", "Of these, seconds in queues", QUEUE, "queue_ns"),
)
_LOADS: Final[Sequence[tuple[str, str, Callable[[Load], float]]]] = (
    ("queue_depth", "Jobs that wait", lambda load: load.waiting),
    (
        "queue_oldest_age_seconds",
        "How long the oldest waiting job has waited",
        lambda load: load.oldest_waiting_ms / 1000,
    ),
    ("leases", "Jobs that workers have", lambda load: load.leases),
    (
        "lease_oldest_age_seconds",
        "How long ago the oldest of them was claimed",
        lambda load: load.oldest_lease_ms / 1000,
    ),
)
_USAGE: Final[Sequence[tuple[str, str, Callable[[Usage], float]]]] = (
    ("requests", "Requests that were answered", lambda had: had.requests),
    ("failed_requests", "Requests that were not", lambda had: had.failed),
    ("rows", "Rows of those that were answered", lambda had: had.rows),
    ("bytes", "Bytes of these and of their replies", lambda had: had.size),
    ("queue_seconds", "Time of these in queues", lambda had: had.queue_us / 1_000_000),
    ("device_seconds", "Time of devices, parted by rows", lambda had: had.device_us / 1_000_000),
)
_REFUSALS: Final = {"full": "refused_full", "late": "refused_late"}
_ENDS: Final = ("success_count", "fail_count", "expired", "cancelled", "dead")
_STATES: Final = ("loading", "ready", "draining", "failed", "restarting", "unknown")

# Names of Triton's counters, and of models' own, need not end in _total, which the library writes
# into their headers.
_HEADER: Final = re.compile(rb"^(# (?:HELP|TYPE) )([\w:]+)_total ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What one gateway process knows of itself.

    Attributes:
        pending: its requests that wait for their replies, and the bytes of their payloads.
        lent_bytes: of its memory that hold such payloads for workers on its machine.
        redis_up: whether it has a connection to Redis.
        memory_bytes: of the process.
        calls: those that are open.
        held_bytes: of requests, from their arrival to their end.
        unread_bytes: of replies that clients have not taken.
        refused: how often which limit refused something.
        cut_off: connections that were ended because their replies were not read.
        tells: whether it tells the cluster's metrics, too: one gateway does.
    """

    id: str
    pending: int
    pending_bytes: int
    lent_bytes: int
    redis_up: bool
    memory_bytes: int = 0
    calls: int = 0
    held_bytes: int = 0
    unread_bytes: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    cut_off: int = 0
    tells: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """What metrics are made from; the cluster's are missing where another gateway tells them.

    Attributes:
        counters: of each version, as docs/redis.md names them.
        ready: versions -> whether they can answer.
        tags: versions -> what their owners want Triton's families labelled with.
        custom: worker -> the families of its model's own code.
        used: what each team has had of each version; of very many teams a part.
        usage_left_out: entries of it that there are beside those; None while Redis is away.
    """

    gateway: GatewayFacts
    counters: Mapping[VersionId, Mapping[str, int]] = field(default_factory=dict)
    loads: Mapping[StageRef, Load] = field(default_factory=dict)
    workers: Sequence[cluster_pb2.Worker] = ()
    ready: Mapping[VersionId, bool] = field(default_factory=dict)
    tags: Mapping[VersionId, Mapping[str, str]] = field(default_factory=dict)
    custom: Mapping[str, Sequence[CustomFamily]] = field(default_factory=dict)
    used: Mapping[tuple[str, VersionId], Usage] = field(default_factory=dict)
    usage_left_out: int | None = None
    machines: Machines = field(default_factory=Machines)
    language: LanguageFacts = field(default_factory=LanguageFacts)

    def labels(self, id_: VersionId) -> dict[str, str]:
        """Of Triton's families; as there, an owner's begin with an underscore."""
        tags = {f"_{name}": value for name, value in self.tags.get(id_, {}).items()}
        return _labels(id_) | tags


def render(facts: Facts) -> bytes:
    """*facts* as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(facts))
    custom = {family.name.encode() for one in facts.custom.values() for family in one}

    def as_named(header: re.Match[bytes]) -> bytes:
        start, name = header.groups()
        own = name.startswith(b"nv_") or name in custom
        return start + name + b" " if own else header[0]

    return _HEADER.sub(as_named, generate_latest(registry))


class _Once(Collector):
    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        yield from _triton(self._facts)
        yield from _versions(self._facts)
        yield from spread_families(_SPREADS, self._facts.counters)
        yield from _stages(self._facts)
        yield from _usage(self._facts)
        yield from language_families(self._facts.language)
        yield from machine_families(self._facts.machines)
        yield build(self._facts.gateway.id)
        yield from _gateway(self._facts.gateway)
        yield from _custom(self._facts.custom)


def _triton(facts: Facts) -> Iterator[Metric]:
    for suffix, text, counter, divisor in (*_TRITON, *_CACHE):
        family = Metric(f"nv_{suffix}", text, "counter")
        for id_, counters in facts.counters.items():
            count = counters.get(counter, 0) + counters.get(_WITH.get(counter, ""), 0)
            family.add_sample(family.name, facts.labels(id_), count // divisor)
        yield family
    failures = Metric("nv_inference_request_failure", "Failed inference requests", "counter")
    for id_, counters in facts.counters.items():
        for reason, names in _FAILURES.items():
            count = sum(counters.get(name, 0) for name in names)
            failures.add_sample(failures.name, facts.labels(id_) | {"reason": reason}, count)
    yield failures
    pending = Metric("nv_inference_pending_request_count", "Requests that wait in queues", "gauge")
    waiting: Counter[VersionId] = Counter()
    for ref, load in facts.loads.items():
        waiting[VersionId(ref.model, ref.version)] += load.waiting
    for id_, count in waiting.items():
        pending.add_sample(pending.name, facts.labels(id_), count)
    yield pending


def _versions(facts: Facts) -> Iterator[Metric]:
    for name, text in _PENSTOCK:
        family = CounterMetricFamily(f"penstock_jobs_{name}", text, labels=_OF_VERSION)
        for id_, counters in facts.counters.items():
            family.add_metric(list(_labels(id_).values()), counters.get(name, 0))
        yield family
    refused = CounterMetricFamily(
        "penstock_requests_refused",
        "Requests turned away before they entered the queue",
        labels=(*_OF_VERSION, "reason"),
    )
    for id_, counters in facts.counters.items():
        for reason, name in _REFUSALS.items():
            refused.add_metric([*_labels(id_).values(), reason], counters.get(name, 0))
    yield refused
    live = GaugeMetricFamily(
        "penstock_jobs_live", "Accepted requests that have not ended", labels=_OF_VERSION
    )
    for id_, counters in facts.counters.items():
        ended = sum(counters.get(name, 0) for name in _ENDS)
        live.add_metric(list(_labels(id_).values()), max(0, counters.get("accepted", 0) - ended))
    yield live
    ready = GaugeMetricFamily(
        "penstock_version_ready", "Whether the version can answer", labels=_OF_VERSION
    )
    for id_, yes in facts.ready.items():
        ready.add_metric(list(_labels(id_).values()), int(yes))
    yield ready


def _stages(facts: Facts) -> Iterator[Metric]:
    for name, text, value in _LOADS:
        family = GaugeMetricFamily(f"penstock_{name}", text, labels=_OF_STAGE)
        for ref, load in facts.loads.items():
            family.add_metric([ref.model, str(ref.version), str(ref.stage)], value(load))
        yield family
    workers = GaugeMetricFamily(
        "penstock_workers", "Workers by state", labels=(*_OF_STAGE, "state")
    )
    counted = Counter((StageRef(w.model, w.version, w.stage), state_of(w)) for w in facts.workers)
    for ref in sorted({*facts.loads, *(ref for ref, _ in counted)}):
        for state in _STATES:
            labels = [ref.model, str(ref.version), str(ref.stage), state]
            workers.add_metric(labels, counted[ref, state])
    yield workers


def _usage(facts: Facts) -> Iterator[Metric]:
    """What each team has had; nothing where callers need no keys."""
    for name, text, value in _USAGE:
        family = CounterMetricFamily(f"penstock_team_{name}", text, labels=("team", *_OF_VERSION))
        for (team, id_), had in sorted(facts.used.items()):
            family.add_metric([team, *_labels(id_).values()], value(had))
        yield family
    left_out = GaugeMetricFamily(
        "penstock_team_usage_left_out", "Teams of versions that are not shown: they are too many"
    )
    if facts.usage_left_out is not None:
        left_out.add_metric([], facts.usage_left_out)
    yield left_out


def _custom(custom: Mapping[str, Sequence[CustomFamily]]) -> Iterator[Metric]:
    """Families of models' code, each line with the worker that counts it."""
    found: dict[str, Metric] = {}
    for worker, families in custom.items():
        for name, text, kind, samples in families:
            family = found.setdefault(name, Metric(name, text, kind))
            for line, labels, value in samples:
                family.add_sample(line, {**labels, "worker": worker}, value)
    yield from found.values()


def _gateway(gateway: GatewayFacts) -> Iterator[Metric]:
    for name, text, value in (
        ("pending_requests", "Requests that wait for replies in this process", gateway.pending),
        ("pending_bytes", "Bytes of their payloads", gateway.pending_bytes),
        ("lent_bytes", "Memory from which workers read payloads", gateway.lent_bytes),
        ("tells_cluster", "Whether this process tells the cluster's metrics", int(gateway.tells)),
        ("redis_up", "Whether this process has a connection to Redis", int(gateway.redis_up)),
        ("memory_bytes", "Memory that this process has", gateway.memory_bytes),
        ("calls", "Calls that are open", gateway.calls),
        ("held_bytes", "Requests from their arrival to their end", gateway.held_bytes),
        ("unread_bytes", "Replies that clients have not taken", gateway.unread_bytes),
    ):
        family = GaugeMetricFamily(f"penstock_gateway_{name}", text, labels=("gateway",))
        family.add_metric([gateway.id], value)
        yield family
    refused = CounterMetricFamily(
        "penstock_gateway_refused",
        "Calls and replies that this process had no room for, by limit",
        labels=("gateway", "limit"),
    )
    for limit, count in gateway.refused.items():
        refused.add_metric([gateway.id, limit], count)
    yield refused
    cut = CounterMetricFamily(
        "penstock_gateway_cut_off",
        "Connections that were ended because their replies were not read",
        labels=("gateway",),
    )
    cut.add_metric([gateway.id], gateway.cut_off)
    yield cut


def _labels(id_: VersionId) -> dict[str, str]:
    return {"model": id_.model, "version": str(id_.version)}
