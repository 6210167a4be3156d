"""How much an ONNX model computes: known by the shapes of its inputs, or only by what they hold.

Reads the graph's nodes out of the file (onnx_graph.py).
"""

import mmap
from pathlib import Path
from typing import Final, NamedTuple

from penstock.workers.runtimes.onnx_graph import (
    INITIALIZER,
    INPUT,
    NAME_OF_TENSOR,
    NAME_OF_VALUE,
    NODE,
    fields,
    graph_fields,
    text,
)

_READS, _WRITES, _OPERATOR, _DOMAIN = 1, 2, 4, 7
"""Fields of a NodeProto."""

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
    for field, at, until in graph_fields(model):
        if field == NODE:
            nodes.append(_node(model, at, until))
        elif field == INITIALIZER:
            known.add(text(model, at, until, NAME_OF_TENSOR))
        elif field == INPUT:
            asked.add(text(model, at, until, NAME_OF_VALUE))
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
    for number, at, until in fields(model, begin, end):
        if number == _READS:
            node.reads.append(model[at:until].decode())
        elif number == _WRITES:
            node.writes.append(model[at:until].decode())
        elif number == _OPERATOR:
            node = node._replace(operator=model[at:until].decode())
        elif number == _DOMAIN:
            node = node._replace(domain=model[at:until].decode())
    return node
