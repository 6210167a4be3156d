"""An ONNX file's graph, read field by field, and which of its tensors have no rank.

Past the weights, and without the onnx package, which would take longer to import.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_GRAPH: Final = 7
"""Field of a ModelProto; the next ones are a GraphProto's."""

NODE, INITIALIZER, INPUT, OUTPUT = 1, 5, 11, 12
NAME_OF_TENSOR, NAME_OF_VALUE = 8, 1

_TYPE, _TENSOR_TYPE, _SHAPE = 2, 1, 2
"""Fields of ValueInfoProto, TypeProto and TypeProto.Tensor, one inside the other."""


def unranked(artifact: Path) -> frozenset[str]:
    """Inputs and outputs of the graph that may have any number of dimensions, as the file says.

    ONNX Runtime tells them like scalars. Empty for a file that cannot be read.
    """
    try:
        with artifact.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as model:
            return frozenset(_unranked(model))
    except (OSError, ValueError, IndexError):
        return frozenset()


def _unranked(model: mmap.mmap) -> Iterator[str]:
    for field, at, until in graph_fields(model):
        if field in (INPUT, OUTPUT) and not _has_rank(model, at, until):
            yield text(model, at, until, NAME_OF_VALUE)


def _has_rank(model: mmap.mmap, begin: int, end: int) -> bool:
    for wanted in (_TYPE, _TENSOR_TYPE, _SHAPE):
        places = ((at, until) for n, at, until in fields(model, begin, end) if n == wanted)
        place = next(places, None)
        if place is None:
            return False
        begin, end = place
    return True


def text(model: mmap.mmap, begin: int, end: int, wanted: int) -> str:
    """The text of the first field *wanted* of the message there; "" where it has none."""
    found = (model[at:until] for n, at, until in fields(model, begin, end) if n == wanted)
    return next(found, b"").decode()


def graph_fields(model: mmap.mmap) -> Iterator[tuple[int, int, int]]:
    """As `fields`, of the graph of a model."""
    for number, begin, end in fields(model, 0, len(model)):
        if number == _GRAPH:
            yield from fields(model, begin, end)


def fields(model: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number and place of each field of a message that lies there.

    Raises:
        ValueError, IndexError: it is none.
    """
    while at < end:
        key, at = _varint(model, at)
        kind = key & 7
        if kind == 2:
            size, at = _varint(model, at)
        elif kind == 0:
            size = _varint(model, at)[1] - at
        elif kind in {1, 5}:
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"no field begins at {at}")
        if at + size > end:
            raise ValueError(f"a field at {at} is cut off")
        yield key >> 3, at, at + size
        at += size


def _varint(model: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = model[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError(f"no number ends at {at}")
