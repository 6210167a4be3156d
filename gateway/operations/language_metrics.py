"""Metrics of language models: tokens, how soon and how fast they came, and slots. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2
from penstock.scheduler.jobs.spread import FIRST_US, NEXT_US, cumulative, spread_of
from penstock.scheduler.observe.counters import PREEMPTED
from penstock.scheduler.observe.loads import Load
from penstock.scheduler.registry.snapshot import VersionId
from penstock.scheduler.requests.counters import (
    CACHED_TOKENS,
    FIRST_NS,
    GENERATED_TOKENS,
    NEXT_NS,
    PROMPT_TOKENS,
)

_OF_VERSION: Final = ("model", "version")
_TOKENS: Final = {
    "prompt": PROMPT_TOKENS,
    "cached": CACHED_TOKENS,
    "generated": GENERATED_TOKENS,
}
_SPREADS: Final = (
    (
        "first_token",
        "Seconds from a request's arrival to the first token of its answer",
        FIRST_US,
        FIRST_NS,
    ),
    (
        "output_token",
        "Of each answer, seconds from one token to the next: the mean behind the first",
        NEXT_US,
        NEXT_NS,
    ),
)


@dataclass(frozen=True, slots=True)
class Slots:
    """Places for answers: what a version's workers have, and how many are taken."""

    there: int = 0
    taken: int = 0


@dataclass(frozen=True, slots=True)
class LanguageFacts:
    """Of language models.

    Attributes:
        counters: of each version of one, as docs/redis.md names them.
        rebuilds: how many ready workers there are whose lost cache comes back so.
    """

    counters: Mapping[VersionId, Mapping[str, int]] = field(default_factory=dict)
    slots: Mapping[VersionId, Slots] = field(default_factory=dict)
    rebuilds: Mapping[tuple[VersionId, str], int] = field(default_factory=dict)


def language_facts(
    slots: Mapping[VersionId, int],
    counters: Mapping[VersionId, Mapping[str, int]],
    loads: Mapping[StageRef, Load],
    workers: Sequence[cluster_pb2.Worker],
) -> LanguageFacts:
    """What is known of language models.

    Args:
        slots: those of each worker of their versions.
    """
    there, taken = Counter[VersionId](), Counter[VersionId]()
    for worker in workers:
        id_ = VersionId(worker.model, worker.version)
        if worker.stage == 0 and worker.state == cluster_pb2.WORKER_STATE_READY and id_ in slots:
            there[id_] += slots[id_]
    ready = (w for w in workers if w.state == cluster_pb2.WORKER_STATE_READY)
    rebuilds = Counter((VersionId(w.model, w.version), w.rebuild) for w in ready if w.rebuild)
    for ref, load in loads.items():
        taken[VersionId(ref.model, ref.version)] += load.leases
    return LanguageFacts(
        {id_: counters.get(id_, {}) for id_ in slots},
        {id_: Slots(there[id_], taken[id_]) for id_ in slots},
        rebuilds,
    )


def language_families(facts: LanguageFacts) -> Iterator[Metric]:
    """Families without a line where no language model is served."""
    tokens = CounterMetricFamily(
        "penstock_tokens",
        "Tokens of prompts, of answers, and those not read since a slot had them (cached)",
        labels=(*_OF_VERSION, "kind"),
    )
    for id_, counters in facts.counters.items():
        for kind, name in _TOKENS.items():
            tokens.add_metric([id_.model, str(id_.version), kind], counters.get(name, 0))
    yield tokens
    preempted = CounterMetricFamily(
        "penstock_preemptions",
        "Answers that waited again since something more urgent needed their slot",
        labels=_OF_VERSION,
    )
    for id_, counters in facts.counters.items():
        preempted.add_metric([id_.model, str(id_.version)], counters.get(PREEMPTED, 0))
    yield preempted
    yield from spread_families(_SPREADS, facts.counters)
    yield from _of_workers(facts)


def spread_families(
    spreads: Iterable[tuple[str, str, str, str]],
    counted: Mapping[VersionId, Mapping[str, int]],
) -> Iterator[Metric]:
    """Of versions that have answered a request; others would have many lines of zeros.

    Args:
        spreads: name, text, and the counters of the spread and of its sum, in nanoseconds.
    """
    for name, text, kind, sum_name in spreads:
        family = HistogramMetricFamily(f"penstock_{name}_seconds", text, labels=_OF_VERSION)
        for id_, counters in counted.items():
            if spread := spread_of(counters, kind):
                buckets = [
                    ("+Inf" if bound == math.inf else str(bound), count)
                    for bound, count in cumulative(spread)
                ]
                sum_s = counters.get(sum_name, 0) / 1e9
                family.add_metric([id_.model, str(id_.version)], buckets, sum_s)
        yield family


def _of_workers(facts: LanguageFacts) -> Iterator[Metric]:
    there = GaugeMetricFamily(
        "penstock_slots", "Answers that workers compute at a time at most", labels=_OF_VERSION
    )
    taken = GaugeMetricFamily("penstock_slots_taken", "Answers that they do", labels=_OF_VERSION)
    for id_, slots in facts.slots.items():
        there.add_metric([id_.model, str(id_.version)], slots.there)
        taken.add_metric([id_.model, str(id_.version)], slots.taken)
    yield there
    yield taken
    rebuilds = GaugeMetricFamily(
        "penstock_rebuilds",
        "Workers by how a lost cache comes back there: prefill, replay or none",
        labels=(*_OF_VERSION, "mode"),
    )
    for (id_, mode), count in sorted(facts.rebuilds.items()):
        rebuilds.add_metric([id_.model, str(id_.version), mode], count)
    yield rebuilds
