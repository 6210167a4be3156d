"""Made-up inputs: what a shard is run on while nobody has sent it anything. Pure.

They are guesses. A shard that takes none of them may be as good as any other: a division wants no
zeros, a reshape wants sizes that go together. So a failure on them is never held against it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from penstock.protos import cluster_pb2 as pb
from penstock.tensors import NUMPY_TYPES, Array, bf16_from_float32, element_count


def made_up(
    specs: Iterable[pb.TensorSpec], rows: int | None
) -> Iterable[tuple[str, dict[str, Array]]]:
    """Inputs of each kind in turn, after the name of the kind; sizes that are not fixed are 1.

    In the last kind they are 32, which strides and halves of images want; it is left out where that
    would be much.

    Args:
        rows: of the batch dimension; None where there is none.
    """
    needed = [spec for spec in specs if not spec.optional]
    for kind, (fill, open_size) in _KINDS.items():
        shapes = {spec.name: _shape(spec.shape, rows, open_size) for spec in needed}
        if open_size == 1 or sum(map(element_count, shapes.values())) <= _MOST_ELEMENTS:
            yield kind, {spec.name: fill(spec.datatype, shapes[spec.name]) for spec in needed}


def _shape(shape: Sequence[int], rows: int | None, open_size: int) -> tuple[int, ...]:
    sizes = [open_size if size < 0 else size for size in shape]
    if rows is not None and shape and shape[0] < 0:
        sizes[0] = rows
    return tuple(sizes)


def zeros(datatype: str, shape: tuple[int, ...]) -> Array:
    """Zeros, or empty texts."""
    if datatype == "BYTES":
        return np.full(shape, b"", dtype=np.object_)
    return np.zeros(shape, dtype=NUMPY_TYPES[datatype])


def _ones(datatype: str, shape: tuple[int, ...]) -> Array:
    return _of_floats(datatype, np.ones(shape, np.float32))


def _ascending(datatype: str, shape: tuple[int, ...]) -> Array:
    """1, 2, 3 ... and from the start again after 100."""
    return _of_floats(datatype, (np.arange(element_count(shape)) % 100 + 1).reshape(shape))


def _of_floats(datatype: str, numbers: Array) -> Array:
    if datatype == "BYTES":
        return numbers.astype(np.int64).astype(str).astype(np.object_)
    if datatype == "BF16":
        return bf16_from_float32(np.asarray(numbers, np.float32))
    return np.asarray(numbers).astype(NUMPY_TYPES[datatype])


_MOST_ELEMENTS: Final = 1 << 22

_KINDS: Final[Mapping[str, tuple[Callable[[str, tuple[int, ...]], Array], int]]] = {
    "zeros": (zeros, 1),
    "ones": (_ones, 1),
    "ascending numbers": (_ascending, 1),
    "zeros of size 32": (zeros, 32),
}
