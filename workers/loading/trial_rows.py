"""Trial rows: made up to try an artifact on, before anybody has sent any. Pure.

Never zeros, on which rows that are mixed cannot be told from rows that are not. Numbers are larger
in each round; integers and texts begin as 0 and 1, since they may be indexes into a table of any
length. A shard that refuses these, since it divides by them or takes them for sizes, is tried on
1 and 2.
"""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from penstock.protos import cluster_pb2 as pb
from penstock.tensors import NUMPY_TYPES, Array, bf16_from_float32

ROWS: Final = 3
ROUNDS: Final = 4
LEAST: Final = (0, 1)
"""The smallest integers to try."""

_SCALES: Final = (1.0, 10.0, 100.0, 1000.0)
_LIMITS: Final = (2, 2, 10, 100)


def rows_for(
    specs: Iterable[pb.TensorSpec], open_size: int, least: int, turn: int
) -> dict[str, Array]:
    """`ROWS` rows of each input; the first ones differ in every input.

    Args:
        open_size: of dimensions of any size, but the first.
        least: the smallest integer.
        turn: of the rounds, from 0.
    """
    found: dict[str, Array] = {}
    for spec in specs:
        chance = np.random.default_rng([turn, zlib.crc32(spec.name.encode())])
        shape = ROWS, *_row_shape(spec, open_size)
        found[spec.name] = _tensor(chance, spec.datatype, shape, least, turn)
    return found


def has_integers(specs: Iterable[pb.TensorSpec]) -> bool:
    """Whether the smallest integer makes a difference."""
    return any(spec.datatype == "BYTES" or "INT" in spec.datatype for spec in specs)


def row_elements(specs: Iterable[pb.TensorSpec], open_size: int) -> int:
    """Elements of one row of all inputs."""
    return sum(math.prod(_row_shape(spec, open_size)) for spec in specs)


def picked(tensors: Mapping[str, Array], rows: Sequence[int]) -> dict[str, Array]:
    """These *rows* of each tensor, in this order."""
    return {name: np.ascontiguousarray(tensor[list(rows)]) for name, tensor in tensors.items()}


def _row_shape(spec: pb.TensorSpec, open_size: int) -> tuple[int, ...]:
    return tuple(open_size if size < 0 else size for size in spec.shape[1:])


def _tensor(
    chance: np.random.Generator, datatype: str, shape: tuple[int, ...], least: int, turn: int
) -> Array:
    if datatype == "BF16":
        return bf16_from_float32(_numbers(chance, shape, turn, np.dtype(np.float32)))
    dtype = NUMPY_TYPES[datatype]
    if dtype.kind == "f":
        return _numbers(chance, shape, turn, dtype)
    most = 2 if datatype == "BOOL" else _LIMITS[turn]
    found = chance.integers(0, most, shape)
    rows = found.reshape(shape[0], -1)
    if rows.size:
        rows[:, 0] = [(row + 1) % 2 for row in range(shape[0])]
    found = found if datatype == "BOOL" else found + least
    return found.astype(str).astype(np.object_) if datatype == "BYTES" else found.astype(dtype)


def _numbers(
    chance: np.random.Generator, shape: tuple[int, ...], turn: int, dtype: "np.dtype[np.float32]"
) -> Array:
    numbers = chance.standard_normal(shape, dtype=np.float32)
    return np.asarray(numbers * np.float32(_SCALES[turn])).astype(dtype)
