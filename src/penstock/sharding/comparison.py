"""The proof: the stages in a row answer as the whole model does, at several batch sizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from penstock.sharding.errors import AnswersVary, PipelineDiffers
from penstock.tensors import Array, float32_from_bf16

BATCH_SIZES = (1, 2, 5)
"""Compared where the batch is dynamic: alone, the size most exports are traced at, and another."""

# A cut ends fusions, so the kernels may round differently: relative to the largest value.
_RELATIVE = {"FP64": 1e-9, "FP32": 1e-4, "FP16": 2e-2, "BF16": 5e-2}

Tensors = dict[str, Array]
Run = Callable[[Mapping[str, Array]], Tensors]


@dataclass(frozen=True, slots=True)
class Verification:
    """That the outputs agreed.

    Attributes:
        batch_sizes: at which they did.
        largest_difference: by how much they differed at most.
        free_sizes: other sizes that follow the request -> values at which they agreed, too.
    """

    batch_sizes: tuple[int, ...]
    largest_difference: float
    free_sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Runnable:
    """One stage, or a whole model: what it reads and how to run it."""

    inputs: tuple[str, ...]
    run: Run


def run_pipeline(stages: Sequence[Runnable], request: Mapping[str, Array]) -> Tensors:
    """What workers do: each stage reads from the request and from all earlier stages."""
    tensors = dict(request)
    for stage in stages:
        tensors.update(stage.run({name: tensors[name] for name in stage.inputs}))
    return tensors


def compare(
    whole: Run,
    stages: Sequence[Runnable],
    samples: Mapping[int, Mapping[str, Array]],
    datatypes: Mapping[str, str],
    *,
    batched: bool,
) -> Verification:
    """Run the whole model and its stages on *samples* (by batch size).

    *datatypes* names the outputs to compare.

    Raises:
        PipelineDiffers: an output does.
        AnswersVary: it differs between two runs of the whole model, too.
    """
    largest = 0.0
    for batch, request in samples.items():
        shown = batch if batched else None
        expected = whole(request)
        differing, difference = _differing(expected, run_pipeline(stages, request), datatypes)
        if differing is not None:
            varying, _ = _differing(expected, whole(request), datatypes)
            if varying is not None:
                raise AnswersVary(varying, shown)
            raise PipelineDiffers(differing, shown, str(difference))
        largest = max(largest, float(difference))
    return Verification(tuple(samples) if batched else (), largest)


def _differing(
    expected: Tensors, actual: Tensors, datatypes: Mapping[str, str]
) -> tuple[str | None, float | str]:
    """The first output that differs, and how; else None and the largest difference of all."""
    largest = 0.0
    for name, datatype in datatypes.items():
        difference = _difference(expected[name], actual[name], datatype)
        if isinstance(difference, str):
            return name, difference
        largest = max(largest, difference)
    return None, largest


def _difference(expected: Array, actual: Array, datatype: str) -> float | str:
    """The largest difference; in words where it is more than rounding."""
    if expected.shape != actual.shape:
        return f"in shape, {list(actual.shape)} for {list(expected.shape)}"
    if datatype == "BF16":
        expected, actual = float32_from_bf16(expected), float32_from_bf16(actual)
    if datatype not in _RELATIVE:
        return 0.0 if np.array_equal(expected, actual) else "in its values"
    wide, other = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(wide)
    if not np.array_equal(wide[~finite], other[~finite], equal_nan=True):
        return "in where it is not finite"
    if not finite.any():
        return 0.0
    difference = float(np.abs(wide[finite] - other[finite]).max())
    allowed = _RELATIVE[datatype] * max(1.0, float(np.abs(wide[finite]).max()))
    # Written so that a NaN is not allowed either.
    return difference if difference <= allowed else f"by {difference:.3g}"
