"""Matrices of weights in a graph: as they are, or in blocks of a few bits that have a scale each.

A block is 32 numbers of one row, symmetric around 0, as in GGUF's Q8_0 and Q4_0: what comes from
such a file is not rounded again. ONNX Runtime's `MatMulNBits` multiplies with them as they are, and
rounds what it multiplies by, row by row, to 8 bits in blocks of 32: its level of accuracy 4. It is
the fastest, and the one whose rows do not depend on how many there are: sums of whole numbers are
exact. The other levels compute a single row otherwise than several (ADR 0053).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.exporting.errors import CannotExport
from penstock.exporting.graphs.graph import Graph

Floats = npt.NDArray[np.float32]

BLOCK: Final = 32
_ACCURACY: Final = 4
_MICROSOFT: Final = "com.microsoft"


class Weights(StrEnum):
    """What matrices become.

    Attributes:
        INT4: the table of embeddings and the head have 8 bits.
    """

    FP32 = "fp32"
    INT8 = "int8"
    INT4 = "int4"


class Blocks(NamedTuple):
    """A matrix in blocks of 32 whole numbers of one row, each with a scale.

    Attributes:
        numbers: int8[outputs, blocks, 32].
        scales: float32[outputs, blocks].
    """

    numbers: npt.NDArray[np.int8]
    scales: Floats


def nothing(name: str) -> None:
    """There are no blocks of any *name*."""
    del name


@dataclass(frozen=True, slots=True)
class Source:
    """What there is of matrices beside their numbers.

    Attributes:
        blocks: gets one as the checkpoint has it, by its name; None where that has no blocks of it.
        on_rounded: hears the name of one that is rounded.
    """

    blocks: Callable[[str], Blocks | None] = nothing
    on_rounded: Callable[[str], None] = nothing


class _Plain:
    """fp32."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def product(self, hidden: str, name: str, rows: Floats) -> str:
        """[..., inputs] times the transpose of *rows*, float32[outputs, inputs]."""
        return self._graph.op("MatMul", hidden, self._transposed(name, rows))

    def lookup(self, tokens: str, rows: Floats) -> str:
        """Of *rows*, the table of embeddings, those of *tokens*."""
        return self._graph.op("Gather", self._graph.weight("token_embd.weight", rows), tokens)

    def head(self, hidden: str, rows: Floats, *, tied: bool) -> str:
        """The logits; *tied*: *rows* is the table of embeddings."""
        del tied  # products want it the other way round than lookups do
        return self._graph.op("MatMul", hidden, self._transposed("head", rows), out="logits")

    def _transposed(self, name: str, rows: Floats) -> str:
        return self._graph.weight(name, np.ascontiguousarray(rows.T))


class _Blocks:
    """8 or 4 bits and a scale for each block."""

    def __init__(self, graph: Graph, weights: Weights, source: Source) -> None:
        self._graph = graph
        self._source = source
        self._bits = 4 if weights is Weights.INT4 else 8
        self._table: tuple[str, str] | None = None

    def product(self, hidden: str, name: str, rows: Floats) -> str:
        """See `_Plain`."""
        return self._product(hidden, self._written(name, rows, self._bits), rows, self._bits)

    def lookup(self, tokens: str, rows: Floats) -> str:
        """See `_Plain`."""
        graph = self._graph
        self._table = self._written("token_embd.weight", rows, 8)
        numbers, scales = (graph.op("Gather", part, tokens) for part in self._table)
        numbers = graph.op("Cast", numbers, to=1)  # float32
        numbers = graph.op("Sub", numbers, graph.constant(128, np.float32))
        found = graph.op("Mul", numbers, graph.op("Unsqueeze", scales, graph.constant([3])))
        return graph.op("Reshape", found, graph.constant([0, 0, -1]))

    def head(self, hidden: str, rows: Floats, *, tied: bool) -> str:
        """See `_Plain`."""
        there = self._table if tied else None
        of = "token_embd.weight" if tied else "output.weight"
        parts = there or self._written("head", rows, 8, of)
        return self._product(hidden, parts, rows, 8, out="logits")

    def _written(
        self, name: str, rows: Floats, bits: int, of: str | None = None
    ) -> tuple[str, str]:
        """*rows* under *name*, which the checkpoint calls *of*, or by the same name."""
        if rows.shape[1] % BLOCK:
            raise CannotExport(
                f"{name} has rows of {rows.shape[1]} numbers, and --weights int8 or int4 wants "
                f"multiples of {BLOCK}: export it with --weights fp32"
            )
        there = self._source.blocks(of or name)
        carried = None if there is None else packed(there, bits)
        if carried is None:
            self._source.on_rounded(of or name)
        numbers, scales = carried or quantized(rows, bits)
        graph = self._graph
        return graph.weight(name, numbers), graph.weight(f"{name}.scales", scales)

    def _product(
        self, hidden: str, parts: tuple[str, str], rows: Floats, bits: int, out: str | None = None
    ) -> str:
        outputs, inputs = rows.shape
        sizes = {"N": outputs, "K": inputs, "bits": bits, "block_size": BLOCK}
        numbers, scales = parts
        return self._graph.op(
            "MatMulNBits",
            *(hidden, numbers, scales),
            out=out,
            domain=_MICROSOFT,
            accuracy_level=_ACCURACY,
            **sizes,
        )


Matrices = _Plain | _Blocks
"""How matrices are written into one graph."""


def matrices_of(weights: Weights, graph: Graph, source: Source) -> Matrices:
    """How *weights* are written into *graph*; what *source* has in blocks is not rounded again."""
    return _Plain(graph) if weights is Weights.FP32 else _Blocks(graph, weights, source)


def quantized(rows: Floats, bits: int) -> tuple[npt.NDArray[np.uint8], Floats]:
    """*rows*, float32[outputs, inputs], in blocks, as `MatMulNBits` has them.

    Returns:
        uint8[outputs, blocks, 32 or 16], numbers from 0 on that mean themselves less 128 or 8, two
        of 4 bits in a byte, the first one low; and float32[outputs, blocks], their scales.
    """
    blocks = rows.reshape(rows.shape[0], -1, BLOCK)
    if bits == 8:
        scales = np.abs(blocks).max(-1, keepdims=True) / np.float32(127)
        numbers = np.rint(blocks * _inverse(scales)) + 128
        return numbers.astype(np.uint8), scales[..., 0]
    # All sixteen numbers are used: the largest one, whichever its sign, is -8.
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1, keepdims=True), -1)
    scales = largest / np.float32(-8)
    numbers = np.clip(np.floor(blocks * _inverse(scales) + np.float32(8.5)), 0, 15)
    halves = numbers.astype(np.uint8)
    return halves[..., 0::2] | halves[..., 1::2] << 4, scales[..., 0]


def packed(blocks: Blocks, bits: int) -> tuple[npt.NDArray[np.uint8], Floats] | None:
    """*blocks* as `quantized` has them, the same numbers; None where they have more bits."""
    half = 1 << bits - 1
    numbers, scales = blocks
    if numbers.min() < -half or numbers.max() >= half:
        return None
    whole = (numbers.astype(np.int16) + half).astype(np.uint8)
    if bits == 4:
        whole = (whole[..., 0::2] | whole[..., 1::2] << 4).astype(np.uint8)
    return whole, scales


def _inverse(scales: Floats) -> Floats:
    """One divided by each; 0 for 0."""
    inverse: Floats = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    return inverse
