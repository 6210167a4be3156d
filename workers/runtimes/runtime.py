"""A runtime: what holds one shard on one device and runs it. Each kind is a module of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.errors import InvalidRequest
from penstock.protos import cluster_pb2
from penstock.tensors import Array

Dimensions = tuple[str, ...]
"""Of one tensor: a number as text, the name or expression of a free size, "" where it has none."""


class InputRejected(InvalidRequest):
    """The shard refuses these inputs: a shape or a value that only it could know to be wrong."""


@dataclass(frozen=True, slots=True)
class DeviceRef:
    """Where a shard runs.

    Attributes:
        kind: "cpu" or "cuda".
        index: which one.
        threads: that compute, for a cpu.
        replica: which of its shard's replicas it is, from 0.
    """

    kind: str
    index: int
    threads: int
    replica: int = 0

    @classmethod
    def parse(cls, text: str, threads: int, replica: int = 0, *, only: bool = False) -> "DeviceRef":
        """Read "cuda:1"; it is the first one here if it is the *only* one that is seen."""
        kind, _, index = text.partition(":")
        return cls(kind, 0 if only else int(index or 0), threads, replica)


class Runtime(Protocol):
    """One loaded shard."""

    @property
    def signature(self) -> cluster_pb2.Signature:
        """What it reads and writes; shapes have -1 where any size will do."""

    @property
    def dimensions(self) -> Mapping[str, Dimensions]:
        """What the artifact calls the sizes of each input and output."""

    @property
    def any_thread(self) -> bool:
        """Whether `run` may be called on another thread than the one that loaded it."""

    @property
    def fixed_work(self) -> bool:
        """Whether the shapes of its inputs tell how much a run computes, whatever they hold."""

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run once, on the calling thread.

        BF16 arrays are uint16, BYTES arrays hold bytes objects.

        Raises:
            InputRejected: the inputs are at fault.
            Exception: whatever the runtime raises when something else is.
        """

    def close(self) -> None:
        """End in order, on the thread that loaded it."""
