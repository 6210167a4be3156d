"""What was cut, for people and for scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penstock.sharding.comparison import Verification
from penstock.sharding.graph import Graph, Stage


@dataclass(frozen=True, slots=True)
class TensorReport:
    """An input or output of a stage, as the wire names it; -1 where a size is dynamic."""

    name: str
    datatype: str
    shape: list[int]


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage. The last one has nothing after it: no cut, no bytes to hand on."""

    stage: int
    file: str
    cut_after: str | None
    crossing: tuple[str, ...]
    parameters: int
    parameter_bytes: int
    crossing_bytes: int | None
    inputs: tuple[TensorReport, ...]
    outputs: tuple[TensorReport, ...]


@dataclass(frozen=True, slots=True)
class ShardReport:
    """All stages of a model, and that they answer as it does."""

    directory: Path
    stages: tuple[StageReport, ...]
    verification: Verification

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {**asdict(self), "directory": str(self.directory)}


def report_stages(
    graph: Graph,
    stages: Sequence[Stage],
    crossings: Sequence[Sequence[str]],
    files: Sequence[str],
) -> tuple[StageReport, ...]:
    """Describe *stages*; *crossings* are the tensors that travel on from each but the last."""
    return tuple(
        _report(graph, place, stage, crossings[place] if place < len(crossings) else None, file)
        for place, (stage, file) in enumerate(zip(stages, files, strict=True))
    )


def _report(
    graph: Graph, place: int, stage: Stage, crossing: Sequence[str] | None, file: str
) -> StageReport:
    held = [graph.weights[name] for name in stage.weights]
    return StageReport(
        stage=place,
        file=file,
        cut_after=None if crossing is None else graph.operations[stage.last_step].name,
        crossing=tuple(crossing or ()),
        parameters=sum(weight.elements for weight in held),
        parameter_bytes=sum(weight.stored_bytes for weight in held),
        crossing_bytes=(
            None if crossing is None else sum(graph.tensors[name].item_bytes for name in crossing)
        ),
        inputs=describe(graph, stage.inputs),
        outputs=describe(graph, stage.outputs),
    )


def describe(graph: Graph, names: Mapping[str, str]) -> tuple[TensorReport, ...]:
    """The name on the wire, datatype and shape of each tensor."""
    return tuple(
        TensorReport(wire_name, graph.tensors[name].datatype, graph.tensors[name].wire_shape)
        for name, wire_name in names.items()
    )
