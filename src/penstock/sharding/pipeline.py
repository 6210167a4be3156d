"""From one model to a folder of stages: read, cut, write, compare, and only then keep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penstock.sharding.comparison import (
    BATCH_SIZES,
    Run,
    Runnable,
    Tensors,
    Verification,
    compare,
)
from penstock.sharding.cuts import TOLERANCE, choose_cuts
from penstock.sharding.files import written_whole
from penstock.sharding.free_sizes import FreeSizes, prove
from penstock.sharding.graph import Graph, Sequenced, Stage
from penstock.sharding.report import ShardReport, report_stages
from penstock.sharding.samples import InputSpec
from penstock.workers.runtimes.opening import ONNX, TORCH, open_runtime
from penstock.workers.runtimes.runtime import DeviceRef

Progress = Callable[[str, float], None]
"""Told what is being done now, and the share that is done."""


_THREADS = 2


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: how many stages, where, and how uneven they may be."""

    stages: int
    directory: Path
    tolerance: float = TOLERANCE


@dataclass(frozen=True, slots=True)
class Whole:
    """A model of either kind, as far as the shared work needs it.

    ``runtime`` runs its stages, ``write`` makes a stage's file, ``samples`` are requests by
    batch size, ``batched`` says whether these sizes mean anything; ``free`` are other sizes that
    follow the request.
    """

    graph: Graph
    suffix: str
    runtime: str
    run: Run
    samples: Mapping[int, Tensors]
    batched: bool
    free: FreeSizes
    write: Callable[[Stage, Path], None]


def shard_onnx(
    path: Path, order: Order, given: dict[str, InputSpec], progress: Progress
) -> ShardReport:
    """Cut the ONNX model at *path*; *given* describes inputs whose samples cannot be guessed.

    Raises:
        CannotShard: with what to change. Nothing was written then.
    """
    from penstock.sharding.onnx.model import read_model
    from penstock.sharding.onnx.stages import write_stage

    progress("reading the model", 0.0)
    model = read_model(path, given)
    batched = model.sizes.batch is not None
    whole = Whole(
        graph=model.graph,
        suffix=".onnx",
        runtime=ONNX,
        run=_runnable(path, ONNX).run,
        samples={batch: model.sizes.request_of(batch) for batch in _batch_sizes(batched=batched)},
        batched=batched,
        free=model.sizes.free(),
        write=lambda stage, target: write_stage(model, stage, target),
    )
    return _shard(whole, order, progress)


def shard_torch(
    factory: Callable[[], Any], order: Order, given: dict[str, InputSpec], progress: Progress
) -> ShardReport:
    """Export and cut the torch module that *factory* makes; *given* describes its inputs.

    Raises:
        CannotShard: with what to change. Nothing was written then.
    """
    from penstock.sharding.torch.factory import build
    from penstock.sharding.torch.model import export
    from penstock.sharding.torch.stages import write_stage

    progress("exporting the module", 0.0)
    model = export(*build(factory, given))
    whole = Whole(
        graph=model.graph,
        suffix=".pt2",
        runtime=TORCH,
        run=model.run,
        samples={batch: model.request_of(batch) for batch in _batch_sizes(batched=model.batched)},
        batched=model.batched,
        free=model.free(),
        write=lambda stage, target: write_stage(model, stage, target),
    )
    return _shard(whole, order, progress)


def _runnable(path: Path, runtime: str) -> Runnable:
    """The artifact at *path*, run as a worker runs it, on the CPU, which every machine has."""
    opened = open_runtime(path, runtime, DeviceRef("cpu", 0, _THREADS))
    outputs = [spec.name for spec in opened.signature.outputs]
    inputs = tuple(spec.name for spec in opened.signature.inputs)
    return Runnable(inputs, lambda request: opened.run(request, outputs))


def _batch_sizes(*, batched: bool) -> tuple[int, ...]:
    return BATCH_SIZES if batched else (1,)


def _shard(whole: Whole, order: Order, progress: Progress) -> ShardReport:
    progress("choosing the cuts", 0.2)
    sequenced = Sequenced(whole.graph)
    weight_bytes = {name: weight.stored_bytes for name, weight in whole.graph.weights.items()}
    cuts = choose_cuts(sequenced.steps(), weight_bytes, order.stages, order.tolerance)
    stages = sequenced.stages(cuts)
    names = [f"shard-{place}{whole.suffix}" for place in range(order.stages)]
    with written_whole(order.directory) as workplace:
        files = [workplace / name for name in names]
        for place, (stage, file) in enumerate(zip(stages, files, strict=True)):
            progress(f"writing {file.name}", 0.3 + 0.4 * place / order.stages)
            whole.write(stage, file)
        progress("comparing with the whole model", 0.7)
        verification = _verify(whole, files)
        progress("done", 1.0)
    crossings = [sequenced.crossing(cut) for cut in cuts]
    reports = report_stages(whole.graph, stages, crossings, names)
    return ShardReport(order.directory, reports, verification)


def _verify(whole: Whole, files: Sequence[Path]) -> Verification:
    datatypes = {name: whole.graph.tensors[name].datatype for name in whole.graph.outputs}
    stages = [_runnable(file, whole.runtime) for file in files]
    found = compare(whole.run, stages, whole.samples, datatypes, batched=whole.batched)
    return replace(found, free_sizes=prove(whole.run, stages, datatypes, whole.free))
