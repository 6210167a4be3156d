"""How much an ONNX model computes: known by the shapes of its inputs, or only by what they hold.

Reads the graph's nodes out of the file, past the weights, and without the onnx package, which
would take longer to import than this takes to run.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_NODE, _INITIALIZER, _INPUT = 1, 5, 11
"""Fields of a GraphProto; _GRAPH of a ModelProto; the rest of NodeProto and TensorProto."""

_GRAPH: Final = 7
_READS, _WRITES, _OPERATOR, _DOMAIN = 1, 2, 4, 7
_NAME_OF_TENSOR, _NAME_OF_VALUE = 8, 1

_STANDARD: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_LOOKS_AT_SHAPES: Final = frozenset({"Constant", "Shape", "Size"})

_FREE: Final = frozenset(
    {
        # Bodies that run as often as they are known to, or not at all.
        *("Loop", "If", "Scan", "SequenceMap"),
        # Outputs that are as large as the values make them.
        *("NonZero", "Unique", "Compress", "NonMaxSuppression"),
        *("StringSplit", "RegexFullMatch", "ImageDecoder", "Tokenizer"),
        # Searches of com.microsoft.
        *("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"),
    }
)
_SIZED_BY: Final[dict[str, tuple[int, ...]]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "DFT": (1,),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Tile": (1, 2),
    "TopK": (1,),
    "Upsample": (1,),
}
"""Operator -> those of its inputs whose values say how large its output is."""


class _Node(NamedTuple):
    operator: str
    domain: str
    reads: list[str]
    writes: list[str]


def has_fixed_work(artifact: Path) -> bool:
    """Whether the shapes of its inputs tell how much a run of the model computes.

    No for a model with loops or branches, with operators that are not standard, or whose tensors
    become as large as values of the request say; and for a file that cannot be read.
    """
    try:
        with artifact.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as model:
            return _is_fixed(model)
    except (OSError, ValueError, IndexError):
        return False


def _is_fixed(model: mmap.mmap) -> bool:
    nodes: list[_Node] = []
    known: set[str] = set()
    asked: set[str] = set()
    for number, begin, end in _fields(model, 0, len(model)):
        if number != _GRAPH:
            continue
        for field, at, until in _fields(model, begin, end):
            if field == _NODE:
                nodes.append(_node(model, at, until))
            elif field == _INITIALIZER:
                known.add(_text(model, at, until, _NAME_OF_TENSOR))
            elif field == _INPUT:
                asked.add(_text(model, at, until, _NAME_OF_VALUE))
    # A weight that is an input, too, may come with a request.
    known -= asked
    return all(_stays_fixed(node, known) for node in nodes)


def _stays_fixed(node: _Node, known: set[str]) -> bool:
    """Whether *node* computes as much as shapes say; adds what it writes to *known* if it must."""
    if node.domain not in _STANDARD or node.operator in _FREE:
        return False
    if node.operator in _LOOKS_AT_SHAPES or all(name in known for name in node.reads if name):
        known.update(node.writes)
        return True
    sizes = [node.reads[at] for at in _SIZED_BY.get(node.operator, ()) if at < len(node.reads)]
    return all(name in known for name in sizes if name)


def _node(model: mmap.mmap, begin: int, end: int) -> _Node:
    node = _Node("", "", [], [])
    for number, at, until in _fields(model, begin, end):
        if number == _READS:
            node.reads.append(model[at:until].decode())
        elif number == _WRITES:
            node.writes.append(model[at:until].decode())
        elif number == _OPERATOR:
            node = node._replace(operator=model[at:until].decode())
        elif number == _DOMAIN:
            node = node._replace(domain=model[at:until].decode())
    return node


def _text(model: mmap.mmap, begin: int, end: int, wanted: int) -> str:
    fields = _fields(model, begin, end)
    return next((model[at:until].decode() for n, at, until in fields if n == wanted), "")


def _fields(model: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
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
