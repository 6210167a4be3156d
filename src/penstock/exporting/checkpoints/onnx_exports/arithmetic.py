"""Operations of ONNX in numpy: those that exports have between the weights of a decoder.

Floats of any size are computed as float32, as if they were real numbers. The room for a result is
checked before it is taken. An operation that is not here is not understood, and is refused.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from penstock.exporting.checkpoints.onnx_exports.files.model_file import Op
from penstock.exporting.checkpoints.onnx_exports.files.stored import FLOATS, Array, Stored

MOST_NUMBERS: Final = 1 << 28
"""In one array."""

Computed = Callable[[Op, Sequence[Array | None]], Sequence[Array]]


class NoRoom(ValueError):
    """A result would be larger than any that belongs to a decoder's attention."""


def room(shape: Sequence[int]) -> tuple[int, ...]:
    """*shape*, if an array may have it; else raise `NoRoom`."""
    shape = tuple(int(size) for size in shape)
    if min(shape, default=0) < 0 or math.prod(shape) > MOST_NUMBERS:
        raise NoRoom
    return shape


def given(op: Op, inputs: Sequence[Array | None], number: int) -> Array:
    """The input *number* of *op*, which must be there; else raise `ValueError`."""
    array = inputs[number] if number < len(inputs) else None
    if array is None:
        raise ValueError(op.kind)
    return array


def _each(compute: Callable[..., Any]) -> Computed:
    """Number by number, over arrays of shapes that fit."""

    def computed(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
        arrays = [given(op, inputs, number) for number in range(len(inputs))]
        room(np.broadcast_shapes(*(array.shape for array in arrays)))
        return [np.asarray(compute(*arrays))]

    return computed


def _divided(one: Array, other: Array) -> Array:
    if one.dtype.kind != "f":  # towards 0, as in C
        return np.trunc(one / other).astype(one.dtype)
    return np.asarray(one / other)


def _cast(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    to, array = op.attributes["to"], given(op, inputs, 0)
    if to in FLOATS or to == 11:
        return [array.astype(np.float32, copy=False)]
    kinds = {6: np.int32, 7: np.int64, 9: np.bool_}
    return [array.astype(kinds[to], copy=False)]


def _softmax(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    array, axis = given(op, inputs, 0), op.attributes.get("axis", -1)
    shares = np.exp(array - array.max(axis, keepdims=True))
    return [shares / shares.sum(axis, keepdims=True)]


def _reduced(compute: Callable[..., Any]) -> Computed:
    def computed(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
        axes = _axes(op, inputs)
        kept = bool(op.attributes.get("keepdims", 1))
        array = given(op, inputs, 0)
        whole = None if axes is None else tuple(axes)
        return [np.asarray(compute(array, axis=whole, keepdims=kept)).astype(array.dtype)]

    return computed


def _axes(op: Op, inputs: Sequence[Array | None]) -> list[int] | None:
    """Of an input, as of opset 13 on, or an attribute."""
    if len(inputs) > 1 and inputs[1] is not None:
        return [int(axis) for axis in inputs[1].reshape(-1)]
    axes = op.attributes.get("axes")
    return None if axes is None else list(axes)


def _shape(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    shape = given(op, inputs, 0).shape
    return [np.array(shape[op.attributes.get("start", 0) : op.attributes.get("end")], np.int64)]


def _gather(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    array, places = given(op, inputs, 0), given(op, inputs, 1)
    axis = op.attributes.get("axis", 0)
    room((places.size, array.size // max(array.shape[axis], 1)))
    return [np.take(array, places, axis=axis)]


def _unsqueeze(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    return [np.expand_dims(given(op, inputs, 0), tuple(_axes(op, inputs) or ()))]


def _squeeze(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    axes = _axes(op, inputs)
    return [np.squeeze(given(op, inputs, 0), None if axes is None else tuple(axes))]


def _concat(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    arrays = [given(op, inputs, number) for number in range(len(inputs))]
    room((sum(array.size for array in arrays),))
    return [np.concatenate(arrays, axis=op.attributes["axis"])]


def _slice(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    array, starts, ends = (given(op, inputs, number) for number in range(3))
    axes = given(op, inputs, 3) if len(inputs) > 3 else np.arange(len(starts))
    steps = given(op, inputs, 4) if len(inputs) > 4 else np.ones(len(starts), np.int64)
    parts = [slice(None)] * array.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise ValueError(op.kind)
        parts[axis] = slice(int(start), int(end), int(step))
    return [array[tuple(parts)]]


def _transpose(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    return [np.transpose(given(op, inputs, 0), op.attributes.get("perm"))]


def _reshape(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    array, wanted = given(op, inputs, 0), given(op, inputs, 1)
    shape = [int(size) for size in wanted]
    if not op.attributes.get("allowzero", 0):
        shape = [size or array.shape[place] for place, size in enumerate(shape)]
    return [array.reshape(shape)]


def _expand(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    array, wanted = given(op, inputs, 0), given(op, inputs, 1)
    sizes = room([int(size) for size in wanted])
    return [np.broadcast_to(array, room(np.broadcast_shapes(array.shape, sizes)))]


def _constant_of_shape(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    said = op.attributes.get("value")
    value = said.array().reshape(()) if isinstance(said, Stored) else np.float32(0)
    return [np.broadcast_to(value, room([int(size) for size in given(op, inputs, 0)]))]


def _range(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    kind = given(op, inputs, 0).dtype
    start, end, step = (given(op, inputs, number).item() for number in range(3))
    room([max(math.ceil((end - start) / step), 0)])
    return [np.arange(start, end, step).astype(kind)]


def _flatten(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    array, axis = given(op, inputs, 0), op.attributes.get("axis", 1)
    return [array.reshape(math.prod(array.shape[:axis]), -1)]


def _split(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    array, axis = given(op, inputs, 0), op.attributes.get("axis", 0)
    if len(inputs) > 1:
        sizes = [int(size) for size in given(op, inputs, 1)]
        if sum(sizes) != array.shape[axis] or min(sizes) < 0:
            raise ValueError(op.kind)
        return np.split(array, np.cumsum(sizes)[:-1], axis)
    return np.split(array, len(op.outputs), axis)


def _tile(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    array, times = given(op, inputs, 0), [int(one) for one in given(op, inputs, 1)]
    room([size * by for size, by in zip(array.shape, times, strict=True)])
    return [np.tile(array, times)]


def _matmul(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    one, other = given(op, inputs, 0), given(op, inputs, 1)
    if one.ndim < 2 or other.ndim < 2:
        raise ValueError(op.kind)
    batch = np.broadcast_shapes(one.shape[:-2], other.shape[:-2])
    room((*batch, one.shape[-2], other.shape[-1]))
    return [np.matmul(one, other)]


def _scatter(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    array, places, new = (given(op, inputs, number) for number in range(3))
    if op.attributes.get("reduction", "none") != "none":
        raise ValueError(op.kind)
    changed = np.array(array)
    changed[tuple(np.moveaxis(places, -1, 0))] = new
    return [changed]


def _upper(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    by = int(given(op, inputs, 1).reshape(())) if len(inputs) > 1 else 0
    keep = np.triu if op.attributes.get("upper", 1) else np.tril
    return [keep(given(op, inputs, 0), by)]


OPERATIONS: Final[Mapping[str, Computed]] = {
    "Add": _each(np.add),
    "Sub": _each(np.subtract),
    "Mul": _each(np.multiply),
    "Div": _each(_divided),
    "Pow": _each(np.power),
    "Where": _each(np.where),
    "And": _each(np.logical_and),
    "Or": _each(np.logical_or),
    "Not": _each(np.logical_not),
    "Equal": _each(np.equal),
    "Less": _each(np.less),
    "LessOrEqual": _each(np.less_equal),
    "Greater": _each(np.greater),
    "GreaterOrEqual": _each(np.greater_equal),
    "Neg": _each(np.negative),
    "Sqrt": _each(np.sqrt),
    "Reciprocal": _each(np.reciprocal),
    "Cos": _each(np.cos),
    "Sin": _each(np.sin),
    "IsNaN": _each(np.isnan),
    "Identity": _each(np.asarray),
    "Cast": _cast,
    "Softmax": _softmax,
    "ReduceSum": _reduced(np.sum),
    "ReduceMean": _reduced(np.mean),
    "Shape": _shape,
    "Gather": _gather,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": _concat,
    "Slice": _slice,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Flatten": _flatten,
    "Split": _split,
    "Tile": _tile,
    "MatMul": _matmul,
    "ScatterND": _scatter,
    "Trilu": _upper,
}
