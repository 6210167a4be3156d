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

    Args:
        rows: of the batch dimension; None where there is none.
    """
    shapes = {
        spec.name: (spec.datatype, _shape(spec.shape, rows)) for spec in specs if not spec.optional
    }
    for kind, fill in _KINDS.items():
        yield kind, {name: fill(datatype, shape) for name, (datatype, shape) in shapes.items()}


def _shape(shape: Sequence[int], rows: int | None) -> tuple[int, ...]:
    sizes = [1 if size < 0 else size for size in shape]
    if rows is not None and shape and shape[0] < 0:
        sizes[0] = rows
    return tuple(sizes)


def _zeros(datatype: str, shape: tuple[int, ...]) -> Array:
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


_KINDS: Final[Mapping[str, Callable[[str, tuple[int, ...]], Array]]] = {
    "zeros": _zeros,
    "ones": _ones,
    "ascending numbers": _ascending,
}
