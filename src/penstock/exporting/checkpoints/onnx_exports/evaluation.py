"""Values of a graph, computed from others by operations that are known, in bounded memory."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from penstock.exporting.checkpoints.onnx_exports.arithmetic import OPERATIONS, NoRoom
from penstock.exporting.checkpoints.onnx_exports.attention_operations import (
    ATTENTION,
    asked_besides,
)
from penstock.exporting.checkpoints.onnx_exports.files.model_file import OnnxModel, Op
from penstock.exporting.checkpoints.onnx_exports.files.stored import Array
from penstock.exporting.checkpoints.onnx_exports.regions import ops_to
from penstock.exporting.errors import Damaged, Unsupported

_KNOWN: Final = {**OPERATIONS, **ATTENTION}
_MOST_ALIVE: Final = 6 << 30
"""Bytes of all values at a time, views counted as if they were copies."""


def evaluated(model: OnnxModel, wanted: Sequence[str], known: Mapping[str, Array]) -> list[Array]:
    """The values *wanted*, from those that are *known* and what is stored.

    Raises:
        Unsupported: an operation on the way is none that is understood.
        Damaged: the operations do not fit together.
    """
    ops = ops_to(model, wanted, lambda value: value in known or value in model.stored)
    for op in ops:
        _check_known(model, op)
    uses = Counter(name for op in ops for name in op.inputs)
    uses.update(wanted)
    values: dict[str, Array] = {}
    alive = 0
    for op in ops:
        inputs = [_value(model, name, values, known) for name in op.inputs]
        computed = zip(op.outputs, _computed(model, op, inputs), strict=False)
        # Outputs that nobody wants have no names.
        made = {name: array for name, array in computed if name}
        values |= made
        alive += sum(array.nbytes for array in made.values())
        if alive > _MOST_ALIVE:
            raise Unsupported(f"{model.file}: its attention takes more memory than any")
        for name in op.inputs:
            uses[name] -= 1
        for name in (*op.inputs, *op.outputs):
            if uses[name] <= 0 and name in values:
                alive -= values.pop(name).nbytes
    found = [_value(model, name, values, known) for name in wanted]
    return [array for array in found if array is not None]


def _check_known(model: OnnxModel, op: Op) -> None:
    if op.kind not in _KNOWN:
        raise Unsupported(
            f"{model.file}: its attention has the operation {op.kind[:80]}, which is not understood"
        )
    if besides := asked_besides(op):
        raise Unsupported(f"{model.file}: its {op.kind} has {besides}, which is not understood")


def _value(
    model: OnnxModel, name: str, values: Mapping[str, Array], known: Mapping[str, Array]
) -> Array | None:
    if not name:
        return None
    for there in (known, values):
        if name in there:
            return there[name]
    if name not in model.stored:
        raise Unsupported(f"{model.file}: it has the input {name[:80]}, which is not understood")
    return model.stored[name].array()


def _computed(model: OnnxModel, op: Op, inputs: Sequence[Array | None]) -> Sequence[Array]:
    try:
        with np.errstate(all="ignore"):
            return _KNOWN[op.kind](op, inputs)
    except NoRoom:
        raise Unsupported(f"{model.file}: {op.kind} makes more of its attention than any") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Damaged(model.file, f"an operation {op.kind} cannot be so ({error})") from error
