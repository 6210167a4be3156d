"""Proof that a cache on a device is written in place: steps are computed, and it is read back.

Bindings are addresses, and a runtime that did not write to them would say nothing of it: all
answers would be computed from zeros.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from penstock.errors import ArtifactUnusable, first_line
from penstock.workers.language.cache.cache import Floats

_FIRST: Final = 2
"""Columns of the first step; the second one has one."""

_INSTEAD: Final = (
    "check that CUDA and cuDNN are those that onnxruntime-gpu needs, or set instance_group kind: "
    "KIND_CPU"
)


class Steps(Protocol):
    """A stage, or all of them behind each other."""

    capacity: int

    def step(
        self,
        columns: npt.NDArray[Any],
        start: npt.NDArray[np.int64],
        wanted: npt.NDArray[np.int64],
        slot: int = 0,
    ) -> Floats:
        """See `Stage.step`."""

    def hear(self, slot: int, samples: Floats) -> None:
        """See `Stage.hear`."""

    def swap(self, one: int, other: int, length: int) -> None:
        """See `Stage.swap`."""

    def cached(self, slot: int, length: int) -> list[Floats]:
        """See `Stage.cached`."""


def prove_in_place(stage: Steps, columns: npt.NDArray[Any], slots: int) -> None:
    """Compute steps in the last of *slots*, all of which are zero, and look at what is where.

    Args:
        columns: three of one row, as `Stage.step` has them.

    Raises:
        ArtifactUnusable: something is not where it was to be, or nothing can be computed.
    """
    if stage.capacity < columns.shape[1]:
        return
    try:
        wrong = _wrong(stage, columns, slots)
    except Exception as error:  # the runtime raises what it likes
        reason = first_line(error)
        raise ArtifactUnusable(
            f"the model does not run on this device: {_INSTEAD} ({reason})"
        ) from error
    if wrong:
        raise ArtifactUnusable(
            f"keys and values are not written in place on this device ({wrong}): {_INSTEAD}"
        )


def _wrong(stage: Steps, columns: npt.NDArray[Any], slots: int) -> str:
    """What is wrong; "" if nothing is."""
    length, slot = columns.shape[1], slots - 1
    stage.hear(slot, np.linspace(-1, 1, 1000, dtype=np.float32))
    _step(stage, columns[:, :_FIRST], 0, slot)
    first = stage.cached(slot, length)
    _step(stage, columns[:, _FIRST:], _FIRST, slot)
    second = stage.cached(slot, length)
    if not all(_has_numbers(part) for part in second):
        return "what was computed is not there"
    kept = [one[:, :_FIRST] for one in first], [one[:, :_FIRST] for one in second]
    written = [one[:, _FIRST:length].any() for one in _of_columns(first, length)]
    if any(written) or not _are_equal(*kept):
        return "a step has written to other columns than its own"
    if slot == 0:
        return ""
    if any(part.any() for part in stage.cached(0, length)):
        return "a step has written to another slot"
    stage.swap(slot, 0, length)
    if not _are_equal(stage.cached(0, length), second):
        return "slots cannot be exchanged"
    # Several rows need more of a runtime than one does.
    _step(stage, np.repeat(columns[:, _FIRST:], 2, axis=0), length - 1, slot - 1)
    return ""


def _step(stage: Steps, columns: npt.NDArray[Any], start: int, slot: int) -> None:
    batch, length = columns.shape[:2]
    wanted = np.array([[0, length - 1]], np.int64)
    stage.step(np.ascontiguousarray(columns), np.full(batch, start, np.int64), wanted, slot)


def _of_columns(parts: Sequence[Floats], length: int) -> list[Floats]:
    """Those that have *length* columns: keys and values, and not what was heard."""
    return [part for part in parts if part.shape[1] == length]


def _has_numbers(part: Floats) -> bool:
    """Whether there are numbers in each column of each head."""
    return bool(np.isfinite(part).all() and part.any(axis=-1).all())


def _are_equal(one: Sequence[Floats], other: Sequence[Floats]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
