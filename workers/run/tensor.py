"""A tensor as it travels: its raw bytes, viewed in place."""

from collections.abc import Mapping
from typing import NamedTuple

from penstock.protos import wire
from penstock.tensors import Array, from_raw


class Tensor(NamedTuple):
    """A tensor as it travels."""

    datatype: str
    shape: tuple[int, ...]
    raw: wire.Buffer

    def array(self) -> Array:
        """The tensor as numpy has it: a view, but for BYTES."""
        return from_raw(self.raw, self.datatype, self.shape)


class Answer(dict[str, Tensor]):
    """What a model's own code answers: as many of its outputs as it likes, and parameters."""

    def __init__(
        self,
        outputs: Mapping[str, Tensor],
        parameters: Mapping[str, bool | int | float | str],
    ) -> None:
        super().__init__(outputs)
        self.parameters = parameters
