"""Operations of ONNX Runtime's own that exports have in attention, in numpy.

What they can do besides, such as windows and caps, is refused by name where it is asked for.
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md describes them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from penstock.exporting.checkpoints.onnx_exports.arithmetic import Computed, given, room
from penstock.exporting.checkpoints.onnx_exports.files.model_file import MICROSOFT, Op
from penstock.exporting.checkpoints.onnx_exports.files.stored import Array

GROUPED: Final = f"{MICROSOFT}GroupQueryAttention"
ROTARY: Final = f"{MICROSOFT}RotaryEmbedding"
_NORMS: Final = ("SimplifiedLayerNormalization", "RMSNormalization")

_NOTHING: Final = (None, 0, -1, "", "NONE")
"""What attributes are that ask for nothing beside attention."""
_SAID: Final[Mapping[str, Mapping[str, Callable[[Any], bool]]]] = {
    GROUPED: {
        "num_heads": lambda value: isinstance(value, int),
        "kv_num_heads": lambda value: isinstance(value, int),
        "scale": lambda value: isinstance(value, float),
        "do_rotary": lambda value: value in (0, 1),
        "local_window_size": lambda value: isinstance(value, int) and (value == -1 or value > 0),
    },
    ROTARY: {
        "num_heads": lambda value: isinstance(value, int),
        "scale": lambda value: value == 1.0,
    },
}
"""What is computed, where it is so."""
_READ_INPUTS: Final = {GROUPED: 9, ROTARY: 4}


def asked_besides(op: Op) -> str | None:
    """What *op* is asked to do that is not computed here; None for nothing."""
    if op.kind not in _SAID:
        return None
    for name, value in op.attributes.items():
        said = _SAID[op.kind].get(name, _NOTHING.__contains__)
        if not said(value):
            return f"{name} = {value}"
    for number in range(_READ_INPUTS[op.kind], len(op.inputs)):
        if op.inputs[number]:
            return f"the input {op.inputs[number][:80]}"
    return None


def root_mean_square(array: Array, weight: Array, epsilon: float) -> Array:
    """*array* divided by its root mean square along the last axis, times *weight*."""
    square = np.mean(array * array, -1, keepdims=True)
    return np.asarray(array / np.sqrt(square + np.float32(epsilon)) * weight)


def turned(heads: Array, cosines: Array, sines: Array) -> Array:
    """*heads* [..., size] with pairs half a head apart turned; tables [..., size / 2]."""
    one, other = np.split(heads, 2, -1)
    return np.concatenate([one * cosines - other * sines, other * cosines + one * sines], -1)


def attended(queries: Array, keys: Array, values: Array, scale: float) -> Array:
    """[1, length, heads * size], of queries [1, heads, length, size] to all before them.

    Args:
        keys, values: [1, kv_heads, total, size]; the last columns are those of the queries.
    """
    _, heads, length, size = queries.shape
    kv_heads, total = keys.shape[1:3]
    room((heads, length, total))
    grouped = queries.reshape(kv_heads, -1, size)
    scores = np.matmul(grouped, keys[0].swapaxes(-1, -2)) * np.float32(scale)
    scores = scores.reshape(heads, length, total)
    seen = np.arange(total) <= np.arange(total - length, total)[:, None]
    scores = np.where(seen, scores, np.float32(-np.inf))
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mixed: Array = np.matmul(shares.reshape(kv_heads, -1, total), values[0])
    return mixed.reshape(heads, length, size).swapaxes(0, 1).reshape(1, length, -1)


def heads_of(rows: Array, heads: int) -> Array:
    """[1, length, heads * size] as [1, heads, length, size]."""
    return rows.reshape(1, rows.shape[1], heads, -1).swapaxes(1, 2)


def _normalized(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    array, weight = given(op, inputs, 0), given(op, inputs, 1)
    if op.attributes.get("axis", -1) not in (-1, array.ndim - 1):
        raise ValueError(op.kind)
    return [root_mean_square(array, weight, op.attributes.get("epsilon", 1e-5))]


def _rotary(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    array, positions, cosines, sines = (given(op, inputs, number) for number in range(4))
    size = 2 * cosines.shape[1]
    if positions.size == 1:  # where the first row is
        length = array.shape[1] if array.ndim == 3 else array.shape[2]
        positions = positions.reshape(1, 1) + np.arange(length)
    tables = cosines[positions], sines[positions]
    if array.ndim == 4:
        return [turned(array, tables[0][:, None], tables[1][:, None])]
    heads = array.reshape(*array.shape[:2], -1, size)
    return [turned(heads, tables[0][:, :, None], tables[1][:, :, None]).reshape(array.shape)]


def _grouped(op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    heads, kv_heads = op.attributes["num_heads"], op.attributes["kv_num_heads"]
    queries, keys, values = _three(op, inputs, heads, kv_heads)
    past = [given(op, inputs, number) for number in (3, 4)]
    before, length = past[0].shape[2], queries.shape[2]
    # All rows are there: the last column is the sum of the mask less one.
    if given(op, inputs, 5).item() != before + length - 1:
        raise ValueError(op.kind)
    if given(op, inputs, 6).item() != before + length:
        raise ValueError(op.kind)
    if op.attributes.get("do_rotary", 0):
        columns = np.arange(before, before + length)
        tables = [given(op, inputs, number)[columns] for number in (7, 8)]
        queries, keys = turned(queries, *tables), turned(keys, *tables)
    keys = np.concatenate([past[0], keys], 2)
    values = np.concatenate([past[1], values], 2)
    scale = op.attributes.get("scale", 0) or queries.shape[-1] ** -0.5
    return [attended(queries, keys, values, scale), keys, values]


def _three(
    op: Op, inputs: Sequence[Array | None], heads: int, kv_heads: int
) -> tuple[Array, Array, Array]:
    """Queries, keys and values, packed into one input or not."""
    queries = given(op, inputs, 0)
    if inputs[1] is not None:
        keys, values = given(op, inputs, 1), given(op, inputs, 2)
    else:
        size = queries.shape[-1] // (heads + 2 * kv_heads)
        ends = heads * size, (heads + kv_heads) * size
        queries, keys, values = np.split(queries, ends, -1)
    return heads_of(queries, heads), heads_of(keys, kv_heads), heads_of(values, kv_heads)


ATTENTION: Final[Mapping[str, Computed]] = {
    **dict.fromkeys(_NORMS, _normalized),
    GROUPED: _grouped,
    ROTARY: _rotary,
}


def window_of(op: Op) -> int | None:
    """How far back *op* sees; None for all there is."""
    window: Any = op.attributes.get("local_window_size", -1)
    return window if op.kind == GROUPED and isinstance(window, int) and window > 0 else None
