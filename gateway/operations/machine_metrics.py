"""Metrics of who runs: processes, devices and workers, and what these have done. Pure."""

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

import penstock
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.observe.work_done import WorkDone
from penstock.scheduler.registry.snapshot import Snapshot, empty_snapshot, footprint_id

_OF_STAGE: Final = ("model", "version", "stage")
_OF_WORKER: Final = (*_OF_STAGE, "node", "device", "worker")
_STATES: Final = ("ready", "draining")


@dataclass(frozen=True, slots=True)
class Machines:
    """Who runs.

    Attributes:
        done: worker -> what it has done.
    """

    snapshot: Snapshot = field(default_factory=empty_snapshot)
    done: Mapping[str, WorkDone] = field(default_factory=dict)


def machine_families(machines: Machines) -> Iterator[Metric]:
    """The cluster's; none of them has a line where nobody runs."""
    yield _processes(machines.snapshot)
    yield _device_memory(machines.snapshot)
    yield _held_memory(machines.snapshot)
    yield _wanted(machines.snapshot)
    yield from _work(machines)


def build(gateway: str) -> Metric:
    """What this process runs."""
    labels = ("gateway", "version", "python")
    family = GaugeMetricFamily("penstock_build_info", "What this process runs", labels=labels)
    family.add_metric([gateway, penstock.__version__, platform.python_version()], 1)
    return family


def _processes(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily(
        "penstock_processes",
        "Processes that live, by role, state and release",
        labels=("role", "state", "software"),
    )
    counted: Counter[tuple[str, str, str]] = Counter()
    for node in snapshot.live_nodes():
        counted["node", _STATES[node.draining], node.software] += 1
    for gateway in snapshot.live_gateways():
        counted["gateway", _STATES[gateway.draining], gateway.software] += 1
    for scheduler in snapshot.live_schedulers():
        counted["scheduler", "ready", scheduler.software] += 1
    for labels, count in sorted(counted.items()):
        family.add_metric(labels, count)
    return family


def _device_memory(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily(
        "penstock_device_memory_bytes",
        "Memory of a device that models may have",
        labels=("node", "device", "name"),
    )
    for node in snapshot.live_nodes():
        for device in node.devices:
            labels = [node.id, f"{device.kind}:{device.index}", device.name]
            family.add_metric(labels, device.memory_bytes)
    return family


def _held_memory(snapshot: Snapshot) -> Metric:
    """What was measured of workers with these artifacts; else the bytes of their parameters."""
    family = GaugeMetricFamily(
        "penstock_device_held_bytes",
        "Memory of a device that its workers' models have",
        labels=("node", "device"),
    )
    held: Counter[tuple[str, str]] = Counter()
    for node in snapshot.live_nodes():
        for device in node.devices:
            held[node.id, f"{device.kind}:{device.index}"] = 0
    for worker in snapshot.live_workers():
        held[worker.node, worker.device] += _held_by(worker, snapshot)
    for labels, count in sorted(held.items()):
        family.add_metric(labels, count)
    return family


def _held_by(worker: pb.Worker, snapshot: Snapshot) -> int:
    version = snapshot.revision_of(worker.model, worker.version, worker.revision_id)
    if version is None or worker.stage >= len(version.stages):
        return worker.memory_bytes
    kind = worker.device.partition(":")[0]
    key = footprint_id(version, version.stages[worker.stage], kind)
    return snapshot.footprints.get(key, 0) or worker.memory_bytes


def _wanted(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily(
        "penstock_workers_wanted",
        "Workers that a published stage shall have",
        labels=_OF_STAGE,
    )
    for id_, version in sorted(snapshot.versions.items()):
        for stage in version.stages:
            family.add_metric([id_.model, str(id_.version), str(stage.index)], version.replicas)
    return family


def _work(machines: Machines) -> Iterator[Metric]:
    busy = CounterMetricFamily(
        "penstock_worker_busy_seconds", "Time in which batches ran", labels=_OF_WORKER
    )
    batches = CounterMetricFamily(
        "penstock_worker_batches",
        "Batches that were run, also those that failed",
        labels=_OF_WORKER,
    )
    rows = CounterMetricFamily("penstock_worker_rows", "Rows of these batches", labels=_OF_WORKER)
    restarts = CounterMetricFamily(
        "penstock_worker_restarts", "How often the worker was started again", labels=_OF_WORKER
    )
    for worker in machines.snapshot.live_workers():
        stage = [worker.model, str(worker.version), str(worker.stage)]
        labels = [*stage, worker.node, worker.device, worker.id]
        done = machines.done.get(worker.id)
        if done is not None:
            busy.add_metric(labels, done.busy_s)
            batches.add_metric(labels, done.batches)
            rows.add_metric(labels, done.rows)
        restarts.add_metric(labels, worker.restarts)
    yield from (busy, batches, rows, restarts)
