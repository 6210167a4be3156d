"""Wants: the workers that somebody wants, and how much of a device each needs. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from penstock.models.config.model_config import LANGUAGE, PYTHON
from penstock.models.refs import StageRef, suffix
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.scheduler.registry.snapshot import footprint_id

MIB: Final = 1 << 20

OVERHEAD_FACTOR: Final = 1.5
"""Weights are held once more while they are optimised, and activations need room."""

SPARE_FACTOR: Final = 1.1
"""What was measured grows a little: requests have other sizes than those it was warmed up with."""

PROCESS_BYTES: Final[Mapping[tuple[str, str], int]] = {
    ("cpu", "onnxruntime"): 96 * MIB,
    ("cpu", "pytorch"): 384 * MIB,
    ("cpu", "python"): 96 * MIB,
    ("cpu", "language"): 96 * MIB,
    ("cuda", "onnxruntime"): 512 * MIB,
    ("cuda", "pytorch"): 512 * MIB,
    ("cuda", "python"): 512 * MIB,
    ("cuda", "language"): 512 * MIB,
}
"""What a worker needs before it holds any weights: libraries, or the CUDA context."""


class Place(NamedTuple):
    """A device of a node: "cpu:0", "cuda:1"."""

    node: str
    device: str


@dataclass(frozen=True, slots=True)
class Want:
    """One worker that somebody wants.

    Attributes:
        kinds: of devices, the best first.
        gpus: indices of cuda devices; empty for any.
        bytes_on: memory to set aside, by kind of device.
        kept_on: the same where it runs already: that it turned out to be larger ends no worker.
        is_python: only for nodes that run Python models.
        grouped: with the same replica of all other stages it is a group.
    """

    stage: StageRef
    replica: int
    fingerprint: str
    retires: bool
    kinds: tuple[str, ...]
    gpus: frozenset[int]
    bytes_on: Mapping[str, int]
    kept_on: Mapping[str, int]
    is_python: bool = False
    grouped: bool = False

    @property
    def id(self) -> str:
        """The name of its placement."""
        place = f"{self.stage.model}/{self.stage.version}/{self.stage.stage}.{self.replica}"
        return place + suffix(self.stage.revision_id)

    @property
    def unit(self) -> tuple[StageRef, int]:
        """What it is placed together with has the same."""
        return (self.stage._replace(stage=0) if self.grouped else self.stage), self.replica

    @property
    def yields(self) -> bool:
        """Whether it makes room for the first workers of others."""
        return self.retires and self.replica > 0

    def allows(self, device: pb.Device) -> bool:
        """Whether the owner would have it there, room or not."""
        if device.kind not in self.kinds:
            return False
        return device.kind != "cuda" or not self.gpus or device.index in self.gpus

    def at(self, place: Place) -> pb.Placement:
        """The placement that puts it there."""
        return pb.Placement(
            model=self.stage.model,
            version=self.stage.version,
            stage=self.stage.stage,
            replica=self.replica,
            node=place.node,
            device=place.device,
            fingerprint=self.fingerprint,
            revision_id=self.stage.revision_id,
        )


Unit = tuple[Want, ...]
"""What is placed together, or not at all: a worker, or all stages of a group."""


def worker_bytes(stage: pb.Stage, device_kind: str, measured: int = 0) -> int:
    """Memory to set aside on a device of this kind for one worker of *stage*.

    Args:
        measured: bytes that such a worker held once it was ready; 0 where none was yet.
    """
    fixed = PROCESS_BYTES.get((device_kind, stage.runtime), 512 * MIB)
    if measured:
        return max(fixed, int(SPARE_FACTOR * measured))
    return fixed + int(OVERHEAD_FACTOR * stage.artifact_bytes)


def is_grouped(version: pb.ModelVersion) -> bool:
    """Whether its stages speak to each other, and so are placed together."""
    return len(version.stages) > 1 and version.stages[0].runtime == LANGUAGE


def wants_of(
    version: pb.ModelVersion, footprints: Mapping[str, int], *, retires: bool
) -> Iterator[Want]:
    """The workers that *version* should have; arguments as for `place`."""
    if version.error:
        return
    groups = config_pb.ModelConfig.FromString(version.config).instance_group
    kinds = (version.device_kind,) if version.device_kind else ("cuda", "cpu")
    for stage in version.stages:
        guessed = {kind: worker_bytes(stage, kind) for kind in kinds}
        needs = {
            kind: worker_bytes(stage, kind, footprints.get(footprint_id(version, stage, kind), 0))
            for kind in kinds
        }
        for replica in range(max(1, version.replicas)):
            yield Want(
                StageRef(version.model, version.version, stage.index, version.revision_id),
                replica,
                stage.fingerprint,
                retires,
                kinds,
                frozenset(gpu for group in groups for gpu in group.gpus),
                needs,
                {kind: min(guessed[kind], needs[kind]) for kind in kinds},
                stage.runtime == PYTHON,
                is_grouped(version),
            )


def units(wants: Iterable[Want]) -> list[Unit]:
    """*wants* by what is placed together; the stages of a group in their order."""
    found: dict[tuple[StageRef, int], list[Want]] = {}
    for want in wants:
        found.setdefault(want.unit, []).append(want)
    return [tuple(sorted(unit, key=lambda want: want.stage.stage)) for unit in found.values()]
