"""A kind's way: train, export, served, compared, shown; with what each step took."""

import importlib
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from digits.cluster import Cluster

from zoo.common.agreement import CALLERS, Agreement, compare
from zoo.common.onnx_files import TOLERANCE
from zoo.common.place import Place
from zoo.common.progress import Stages
from zoo.common.results import Exhibit, Record, at_most
from zoo.kinds import KINDS

Steps = list[tuple[str, float | None, int | None]]


@dataclass(slots=True)
class Prepared:
    """A kind that can be served.

    Attributes:
        path: what was done for it so far.
    """

    place: Place
    path: Steps = field(default_factory=list)


def shipped(kind: str) -> Prepared:
    """What the repository brings along."""
    place = Place.shipped(kind)
    return Prepared(place, [_artifacts(place)])


def prepare_all(
    kinds: Sequence[str], folder: Path, stages: Stages, *, quick: bool = False
) -> dict[str, Prepared]:
    """Train and export each in a process of its own, as many at a time as there are cores.

    What takes longest begins first, so that no core waits for it in the end.
    """
    spawn = multiprocessing.get_context("spawn")
    done: dict[str, Prepared] = {}
    with ProcessPoolExecutor(os.cpu_count(), spawn, max_tasks_per_child=1) as pool:
        running: dict[Future[Prepared], str] = {}
        for kind in sorted(kinds, key=lambda name: -KINDS[name].seconds):
            running[pool.submit(prepare, kind, folder.resolve(), quick=quick)] = kind
            stages.reached(kind, "trains")
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                kind = running.pop(future)
                done[kind] = future.result()
                stages.reached(kind, "exports", "is exported")
    return done


def prepare(kind: str, folder: Path, *, quick: bool = False) -> Prepared:
    """Train and export one kind below *folder*."""
    import torch

    from zoo.common.packages import unpacked

    torch.set_num_threads(1)
    place, path = Place(kind, folder / kind, quick), []
    place.prepare()
    began = time.monotonic()
    for package in KINDS[kind].packages:
        unpacked(package)
    path.append(("the data is there", time.monotonic() - began, None))
    began = time.monotonic()
    if find_spec(f"zoo.{kind}.train"):  # some come trained
        _module(kind, "train").train(place)
        path.append(("trained", time.monotonic() - began, place.sizes[0]))
    began = time.monotonic()
    _module(kind, "export").export(place)
    path.append(("exported, and proved against its source", time.monotonic() - began, None))
    return Prepared(place, [*path, _artifacts(place)])


def _artifacts(place: Place) -> tuple[str, None, int]:
    return "the model repository", None, place.sizes[1]


async def show(one: Prepared, cluster: Cluster, stages: Stages) -> Record:
    """Compare what is served with its source, and have it shown."""
    import asyncio

    place, kind = one.place, one.place.kind
    stages.reached(kind, "is served")
    cases = await asyncio.to_thread(_module(kind, "export").cases, place)
    alone = await compare(cluster.address, cases, 1)
    among = await compare(cluster.address, cases, CALLERS)
    stages.reached(kind, "agrees")
    exhibit = await asyncio.to_thread(_module(kind, "serve_and_show").show, cluster.address, place)
    agreed = [
        at_most("served against its source, one caller", alone.difference, TOLERANCE),
        at_most(f"the same, {CALLERS} callers at once", among.difference, TOLERANCE),
    ]
    stages.reached(kind, "is shown")
    path = [*one.path, ("the cluster is ready, all kinds", cluster.seconds, None)]
    whole = Exhibit([*exhibit.goals, *agreed], exhibit.pictures)
    return Record(kind, [*path, *_asked(alone, among)], whole)


def _asked(alone: Agreement, among: Agreement) -> Steps:
    calls = len(alone.seconds)
    return [
        ("a request, alone", median(alone.seconds), alone.sent // calls),
        ("its answer", None, alone.received // calls),
        (f"a request among {CALLERS} callers", median(among.seconds), None),
    ]


def _module(kind: str, name: str) -> Any:
    return importlib.import_module(f"zoo.{kind}.{name}")
