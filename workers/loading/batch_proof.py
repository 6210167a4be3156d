"""The proof that requests may share a run: rows run together equal rows run apart.

It is tried on the artifact itself when it has been loaded, on a few made-up rows and in two orders,
so that neither a sum over the rows nor a sort of them goes unseen. What cannot be tried is not
proved, and an output that is the same for all rows proves nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from penstock.errors import first_line
from penstock.protos import cluster_pb2 as pb
from penstock.tensors import Array, float32_from_bf16
from penstock.workers.loading.batch_dimension import BatchDimension, NotProved, batch_dimension
from penstock.workers.loading.trial_rows import (
    LEAST,
    ROUNDS,
    ROWS,
    has_integers,
    picked,
    row_elements,
    rows_for,
)
from penstock.workers.runtimes.runtime import Runtime

TOGETHER: Final = ((0, 1), (2, 1, 0))
"""The rows of each run that must equal runs of one row: two sizes, and two orders."""

OPEN_SIZES: Final = (8, 32, 64, 224)
"""Tried for other dimensions of any size until one runs: short texts, then images."""

MOST_ELEMENTS: Final = 1 << 24
"""Of one row: what is larger is not made up."""

# Of the largest value of an output. Kernels may differ with the number of rows, and so do
# roundings; on a GPU FP32 may be computed with the ten bits of TF32.
_RELATIVE: Final = {"FP64": 1e-9, "FP32": 1e-4, "FP16": 2e-2, "BF16": 5e-2}
_RELATIVE_ON_GPU: Final = _RELATIVE | {"FP32": 2e-3}


def prove(runtime: Runtime, device_kind: str) -> pb.BatchProof:
    """Try whether rows of *runtime*'s artifact may run together; on the thread that runs it."""
    try:
        dimension = batch_dimension(runtime.signature, runtime.dimensions)
        trial = _Trial(runtime, _RELATIVE if device_kind == "cpu" else _RELATIVE_ON_GPU)
        trial.run()
        trial.check_rows_go_together(dimension)
    except NotProved as error:
        return pb.BatchProof(proved=False, why=str(error))
    called = f"is '{dimension.name}' everywhere" if dimension.name else "has no name"
    return pb.BatchProof(
        proved=True, why=f"dimension 0 {called}, and rows run together equal rows run apart"
    )


class _Trial:
    """One artifact, tried on made-up rows."""

    def __init__(self, runtime: Runtime, relative: dict[str, float]) -> None:
        self._runtime = runtime
        self._relative = relative
        self._inputs = list(runtime.signature.inputs)
        self._outputs = {spec.name: spec.datatype for spec in runtime.signature.outputs}
        self._open_size = self._least = 0

    def run(self) -> None:
        """Compare runs until each output has shown that it tells rows apart."""
        unproved = set(self._outputs)
        apart = self._first_that_runs()
        for turn in range(ROUNDS):
            if turn:
                try:
                    apart = self._run_apart(turn)
                except NotProved:
                    raise
                except Exception:  # noqa: BLE001, S112 - of larger numbers, some may be none
                    continue
            self._compare(turn, apart)
            unproved -= {
                name for name in unproved if self._distinguishes(name, [one[name] for one in apart])
            }
            if not unproved:
                return
        raise NotProved(
            f"output '{min(unproved)}' is the same for all made-up rows: nothing can be seen of it"
        )

    def check_rows_go_together(self, dimension: BatchDimension) -> None:
        """Inputs that are not known to have as many rows as the others must not run with more."""
        if len(self._inputs) == 1:
            return
        for name in dimension.unnamed:
            rows = self._rows(0)
            uneven = {n: t if n == name else picked({n: t}, (0, 1))[n] for n, t in rows.items()}
            try:
                self._runtime.run(uneven, list(self._outputs))
            except Exception:  # noqa: BLE001, S112 - runtimes raise what they like
                continue
            raise NotProved(f"input '{name}' may have another number of rows than the others")

    def _first_that_runs(self) -> list[dict[str, Array]]:
        """One row at a time, made up in the first way that the artifact takes."""
        refused: Exception | None = None
        for least, size in self._ways():
            self._least, self._open_size = least, size
            if row_elements(self._inputs, self._open_size) > MOST_ELEMENTS:
                raise NotProved("a row of its inputs is too large to be made up")
            try:
                return self._run_apart(0)
            except NotProved:
                raise
            except Exception as error:  # noqa: BLE001 - runtimes raise what they like
                refused = refused or error
        raise NotProved(
            f"it does not run on made-up rows ({first_line(refused)}), so nothing is proved; where "
            "requests may share a run, max_batch_size in config.pbtxt says so"
        )

    def _ways(self) -> Iterator[tuple[int, int]]:
        """The smallest integers, and sizes of open dimensions, that are worth trying."""
        has_open = any(-1 in spec.shape[1:] for spec in self._inputs)
        for least in LEAST if has_integers(self._inputs) else LEAST[:1]:
            for size in OPEN_SIZES if has_open else OPEN_SIZES[:1]:
                yield least, size

    def _rows(self, turn: int) -> dict[str, Array]:
        return rows_for(self._inputs, self._open_size, self._least, turn)

    def _run_apart(self, turn: int) -> list[dict[str, Array]]:
        rows = self._rows(turn)
        return [self._run(picked(rows, [row]), 1) for row in range(ROWS)]

    def _compare(self, turn: int, apart: Sequence[dict[str, Array]]) -> None:
        rows = self._rows(turn)
        for order in TOGETHER:
            try:
                together = self._run(picked(rows, order), len(order))
            except NotProved:
                raise
            except Exception as error:
                why = f"it refuses {len(order)} rows together: {first_line(error)}"
                raise NotProved(why) from error
            for name, datatype in self._outputs.items():
                expected = [apart[row][name] for row in order]
                if not self._equal(expected, together[name], datatype):
                    raise NotProved(
                        f"output '{name}' of a row changes with the rows beside it, in a run of "
                        f"{len(order)}"
                    )

    def _run(self, inputs: dict[str, Array], rows: int) -> dict[str, Array]:
        found = self._runtime.run(inputs, list(self._outputs))
        for name, array in found.items():
            if array.ndim == 0 or array.shape[0] != rows:
                raise NotProved(
                    f"output '{name}' has shape {list(array.shape)} for {rows} row(s): its first "
                    "dimension is not the batch's"
                )
        return found

    def _equal(self, apart: Sequence[Array], together: Array, datatype: str) -> bool:
        if any(one.shape[1:] != together.shape[1:] for one in apart):
            return False
        expected = np.concatenate(apart)
        if datatype not in self._relative:
            return bool(np.array_equal(expected, together))
        wide, other = _wide(expected, datatype), _wide(together, datatype)
        finite = np.isfinite(wide)
        if not np.array_equal(wide[~finite], other[~finite], equal_nan=True):
            return False
        difference = _largest(np.abs(wide[finite] - other[finite]))
        # Written so that a NaN is not allowed either.
        return difference <= self._allowed(datatype, [expected])

    def _distinguishes(self, name: str, apart: Sequence[Array]) -> bool:
        """Whether rows that were mixed up would be seen in this output."""
        datatype = self._outputs[name]
        first, *others = apart
        if any(other.shape != first.shape for other in others):
            return True
        if datatype not in self._relative:
            return any(not np.array_equal(first, other) for other in others)
        wide = [_wide(one, datatype) for one in apart]
        with np.errstate(invalid="ignore"):  # what is infinite in both
            spread = max(_largest(_finite(np.abs(wide[0] - other))) for other in wide[1:])
        return spread > 2 * self._allowed(datatype, apart)

    def _allowed(self, datatype: str, arrays: Iterable[Array]) -> float:
        largest = max(_largest(_finite(np.abs(_wide(array, datatype)))) for array in arrays)
        return self._relative[datatype] * largest


def _wide(array: Array, datatype: str) -> Array:
    if datatype == "BF16":
        array = float32_from_bf16(array)
    return np.asarray(array, np.float64)


def _finite(array: Array) -> Array:
    return np.asarray(array[np.isfinite(array)])


def _largest(array: Array) -> float:
    return float(array.max()) if array.size else 0.0
