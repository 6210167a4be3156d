"""Matrices of weights as graphs have them: plain, turned, several in one, or in blocks of bits."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from penstock.exporting.checkpoints.onnx_exports.files.model_file import (
    MICROSOFT,
    OnnxModel,
    Op,
    named,
)
from penstock.exporting.checkpoints.onnx_exports.files.stored import Stored
from penstock.exporting.errors import Damaged, Unsupported
from penstock.exporting.graphs.matrices import BLOCK, Blocks, Floats

BITS_PRODUCT: Final = f"{MICROSOFT}MatMulNBits"
BITS_LOOKUP: Final = f"{MICROSOFT}GatherBlockQuantized"
_UINT8: Final = 2


@dataclass(frozen=True, slots=True)
class PlainMatrix:
    """Floats, the outputs along the first axis or (*turned*) the last.

    Attributes:
        bits: of each number, where they are whole numbers; None for floats.
    """

    stored: Stored
    turned: bool

    bits = None

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        one, other = self.stored.shape
        return (other, one) if self.turned else (one, other)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for two that are the same numbers in the file."""
        return self.stored.name, self.turned

    def rows(self, begin: int = 0, end: int | None = None) -> Floats:
        """Some outputs, or all."""
        array = self.stored.array()
        found: Floats = (array.T if self.turned else array)[begin:end]
        return found

    def blocks(self, begin: int = 0, end: int | None = None) -> Blocks | None:
        """The same as whole numbers and scales; None where they are stored otherwise."""
        del begin, end
        return None


@dataclass(frozen=True, slots=True)
class BitsMatrix:
    """Whole numbers of 4 or 8 bits in blocks along the inputs, with a scale for each block."""

    numbers: Stored
    scales: Stored
    zeros: Stored | None
    shape: tuple[int, int]
    bits: int
    size: int

    @property
    def key(self) -> tuple[Any, ...]:
        """See `PlainMatrix`."""
        return self.numbers.name, self.bits

    def rows(self, begin: int = 0, end: int | None = None) -> Floats:
        """See `PlainMatrix`."""
        numbers, scales = self._parts(begin, end)
        whole = (numbers.astype(np.float32) * scales[..., None]).reshape(len(numbers), -1)
        return np.ascontiguousarray(whole[:, : self.shape[1]])

    def blocks(self, begin: int = 0, end: int | None = None) -> Blocks | None:
        """See `PlainMatrix`; None, too, where no blocks of 32 can be made of them."""
        if self.size % BLOCK or self.shape[1] % BLOCK:
            return None
        numbers, scales = self._parts(begin, end)
        if numbers.min() < -128 or numbers.max() > 127:
            return None
        fine = numbers.astype(np.int8).reshape(len(numbers), -1, BLOCK)
        count = self.shape[1] // BLOCK
        repeated = np.repeat(scales, self.size // BLOCK, axis=1)
        return Blocks(fine[:, :count], np.ascontiguousarray(repeated[:, :count]))

    def _parts(self, begin: int, end: int | None) -> tuple[Any, Floats]:
        """int16[outputs, blocks, size], and float32[outputs, blocks]."""
        outputs, inputs = self.shape
        blocks = -(-inputs // self.size)
        raw = self.numbers.array().reshape(outputs, blocks, -1)[begin:end]
        numbers = _spread(raw, self.bits).astype(np.int16)
        if self.zeros is None:
            zeros = np.int16(1 << self.bits - 1)
        else:
            packed = self.zeros.array().reshape(outputs, -1)[begin:end]
            zeros = _spread(packed, self.bits)[:, :blocks, None].astype(np.int16)
        scales: Floats = self.scales.array().reshape(outputs, blocks)[begin:end]
        return numbers - zeros, scales


Matrix = PlainMatrix | BitsMatrix
"""Weights, float32[outputs, inputs], read when they are wanted."""


def _spread(packed: Any, bits: int) -> Any:
    """Each number in a byte of its own; of two in one byte the low one is the first."""
    if bits == 8:
        return packed
    return np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1)


@dataclass(frozen=True, slots=True)
class Part:
    """Some outputs of a matrix, or all, and of the bias behind it."""

    matrix: Matrix
    begin: int
    end: int
    bias: Stored | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        return self.end - self.begin, self.matrix.shape[1]

    def rows(self) -> Floats:
        """float32[outputs, inputs]."""
        return self.matrix.rows(self.begin, self.end)

    def blocks(self) -> Blocks | None:
        """The same as whole numbers and scales, where they are stored so."""
        return self.matrix.blocks(self.begin, self.end)


def plain_matrix(model: OnnxModel, value: str, *, turned: bool) -> PlainMatrix | None:
    """The floats that are stored as *value*, perhaps behind a transposition."""
    op = model.op(model.plain(value))
    if op is not None and op.kind == "Transpose" and op.attributes.get("perm", [1, 0]) == [1, 0]:
        value, turned = op.input(0), not turned
    there = model.array(value)
    if there is None or len(there.shape) != 2:
        return None
    return PlainMatrix(there, turned)


def bits_product(model: OnnxModel, op: Op) -> BitsMatrix:
    """The matrix of a `MatMulNBits`.

    Raises:
        CannotExport: it is none that is read, or of other sizes than it says.
    """
    if op.input(4):
        raise Unsupported(f"{model.file}: {named(op.outputs)} has inputs in another order (g_idx)")
    shape, size = (op.whole("N"), op.whole("K")), op.whole("block_size")
    return _bits(model, op, (op.input(1), op.input(2), op.input(3)), shape, size)


def bits_lookup(model: OnnxModel, op: Op) -> BitsMatrix:
    """The table of a `GatherBlockQuantized`; raises as `bits_product` does."""
    if op.whole("gather_axis") != 0 or op.whole("quantize_axis", 1) != 1:
        raise Unsupported(f"{model.file}: {named(op.outputs)} has its blocks along another axis")
    value = model.plain(op.input(0))
    reshape = model.op(value)
    sizes = model.array(reshape.input(1)) if reshape and reshape.kind == "Reshape" else None
    if reshape is not None and sizes is not None:
        value, wanted = reshape.input(0), sizes.whole_numbers()
    else:
        wanted = list(model.stored[value].shape) if value in model.stored else []
    if len(wanted) != 2 or min(wanted) < 1:
        raise Unsupported(f"{model.file}: {named(op.outputs)} has no table that is read")
    shape = wanted[0], wanted[1] * 8 // max(op.whole("bits", 4), 1)
    names = value, op.input(2), op.input(3)
    return _bits(model, op, names, shape, op.whole("block_size", 128))


def _bits(
    model: OnnxModel, op: Op, names: tuple[str, str, str], shape: tuple[int, int], size: int
) -> BitsMatrix:
    bits = op.whole("bits", 4)
    numbers, scales, zeros = (model.array(name) if name else None for name in names)
    what = f"{model.file}: {named(op.outputs)}"
    if bits not in (4, 8) or numbers is None or scales is None or (names[2] and zeros is None):
        raise Unsupported(f"{what} has weights of {bits} bits", "4 and 8 bits are read")
    if numbers.kind != _UINT8 or (zeros is not None and zeros.kind != _UINT8):
        raise Unsupported(f"{what} has numbers or zero points that are no bytes")
    if not 16 <= size <= 1 << 16 or size & size - 1 or min(shape) < 1:
        raise Damaged(model.file, f"{named(op.outputs)} says blocks of {size}, sizes {shape}")
    blocks = -(-shape[1] // size)
    expected = [shape[0] * blocks * size * bits // 8, shape[0] * blocks]
    found = [math.prod(numbers.shape), math.prod(scales.shape)]
    if zeros is not None:
        expected.append(shape[0] * -(-blocks * bits // 8))
        found.append(math.prod(zeros.shape))
    if expected != found:
        raise Damaged(model.file, f"{numbers.name} has not as many numbers as its product wants")
    return BitsMatrix(numbers, scales, zeros, shape, bits, size)
