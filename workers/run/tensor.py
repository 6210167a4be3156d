"""A tensor as it travels: its raw bytes, viewed in place."""

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
