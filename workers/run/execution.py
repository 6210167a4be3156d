"""Running one batch: concatenate, compute, split. Pure but for the clock and the runtime.

A batch that fails is run again one job at a time, so that bad input harms only its own job.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from penstock.errors import Code, PenstockError, forget_frames
from penstock.scheduler.jobs.types import Timing
from penstock.tensors import NUMPY_TYPES, Array
from penstock.workers.run import encoding
from penstock.workers.run.reshaping import Reshaping
from penstock.workers.run.tensor import Tensor
from penstock.workers.run.work import Work
from penstock.workers.runtimes.runtime import Runtime

Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job has no result."""

    code: Code
    message: str


Result = dict[str, Tensor] | Failure


class Ran(NamedTuple):
    """A batch that ran.

    Attributes:
        results: one for each job, in order.
        error: what a job of it raised, or else the batch as a whole; None if nothing.
        unsplittable: why requests must not share a run; empty if nothing speaks against it.
    """

    results: list[Result]
    timing: Timing
    error: Exception | None = None
    unsplittable: str = ""


class _RowsLost(Exception):
    """An output's first dimension is not the batch's: it cannot be split."""

    def __init__(self, output: str, rows: int, got: Sequence[int]) -> None:
        super().__init__(
            f"output '{output}' has shape {list(got)} for a batch of {rows}: "
            "its first dimension must be the batch's"
        )


class Execution:
    """One stage of one model version on one runtime."""

    def __init__(
        self,
        runtime: Runtime,
        consumes: Sequence[str],
        produces: Sequence[str],
        *,
        batched: bool,
        reshaping: Reshaping | None = None,
    ) -> None:
        self._runtime = runtime
        self._consumes = consumes
        self._produces = produces
        self._batched = batched
        self._reshaping = reshaping
        self._sample: dict[str, Array] | None = None
        self._datatypes = {spec.name: spec.datatype for spec in runtime.signature.outputs}

    @property
    def any_thread(self) -> bool:
        """Whether it may run on any thread."""
        return self._runtime.any_thread

    @property
    def fixed_work(self) -> bool:
        """Whether the shapes of its inputs tell how much a run computes."""
        return self._runtime.fixed_work

    @property
    def fixed_rows(self) -> bool:
        """Whether each row of a batch is as large as any other."""
        text = any(spec.datatype == "BYTES" for spec in self._runtime.signature.inputs)
        return not self.guesses and not text

    @property
    def guesses(self) -> bool:
        """Whether warming up must guess sizes other than the batch's."""
        start = 1 if self._batched else 0
        return any(-1 in spec.shape[start:] for spec in self._runtime.signature.inputs)

    def run(self, batch: Sequence[Work]) -> Ran:
        """Run *batch*; never raises for what a job holds."""
        try:
            return self._run_together(batch)
        except Exception as error:  # noqa: BLE001 - runtimes raise what they like
            # Whoever holds the result would be held by it, and the batch's tensors with them.
            forget_frames(error)
            if len(batch) == 1:
                return Ran([failure_of(error)], Timing(), error)
            singles = [self.run([work]) for work in batch]
            return _gathered(singles, error)

    def warm_up_on(self, sample: Arrays) -> str:
        """Run on a request's inputs; from then on `warm_up` runs on them as well."""
        self._sample = dict(sample)
        return self.warm_up(0)

    def warm_up(self, rows: int) -> str:
        """Run on zeros; sizes that are not fixed are 1.

        Returns why requests must not share a run, should it be seen; else an empty text.
        """
        if self._sample is not None:
            reshaping = self._reshaping
            inputs = reshaping.inward(self._sample) if reshaping else self._sample
            return self._rows_lost(inputs, self._runtime.run(inputs, list(self._produces)))
        inputs = {
            spec.name: _zeros(
                spec.datatype, _sample_shape(spec.shape, rows if self._batched else None)
            )
            for spec in self._runtime.signature.inputs
            if not spec.optional
        }
        return self._rows_lost(inputs, self._runtime.run(inputs, list(self._produces)))

    def _compute(self, inputs: Arrays, batch: Sequence[Work]) -> dict[str, Array]:
        """What the runtime makes of *inputs*, which those of *batch* were joined to."""
        del batch  # for those to whom more than its tensors matters
        return self._runtime.run(inputs, self._produces)

    def _run_together(self, batch: Sequence[Work]) -> Ran:
        started = time.perf_counter_ns()
        # Requests that leave out different inputs do not share a batch (decoding.py).
        given = batch[0].tensors
        join = _joined if len(batch) > 1 else _alone
        inputs = {name: join(batch, name) for name in self._consumes if name in given}
        if len(batch) > 1:
            _check_rows(inputs, batch)
        if self._reshaping is not None:
            inputs = self._reshaping.inward(inputs)
        ready = time.perf_counter_ns()
        arrays = self._compute(inputs, batch)
        if self._reshaping is not None:
            arrays = self._reshaping.outward(arrays)
        computed = time.perf_counter_ns()
        results: list[Result] = []
        unsplittable = ""
        if len(batch) == 1:
            results.append(encoding.whole_results(arrays, self._datatypes))
            unsplittable = self._rows_lost(inputs, arrays)
        else:
            results += self._split(arrays, batch)
        ended = time.perf_counter_ns()
        timing = Timing(ready - started, computed - ready, ended - computed)
        return Ran(results, timing, unsplittable=unsplittable)

    def _rows_lost(self, inputs: Arrays, arrays: Arrays) -> str:
        """Why requests must not share a run, as one request alone shows; empty if it does not."""
        if not (self._batched and inputs) or any(one.ndim == 0 for one in inputs.values()):
            return ""
        rows = next(iter(inputs.values())).shape[0]
        lost = next(_with_other_rows(arrays, rows), None)
        return "" if lost is None else str(_RowsLost(lost, rows, arrays[lost].shape))

    def _split(self, arrays: Arrays, batch: Sequence[Work]) -> list[dict[str, Tensor]]:
        ends = np.cumsum([work.rows for work in batch]).tolist()
        lost = next(_with_other_rows(arrays, ends[-1]), None)
        if lost is not None:
            raise _RowsLost(lost, ends[-1], arrays[lost].shape)
        return encoding.split_results(
            arrays, self._datatypes, zip([0, *ends[:-1]], ends, strict=True)
        )


def _check_rows(inputs: Arrays, batch: Sequence[Work]) -> None:
    """Whoever queued the requests may have counted other rows: such a batch cannot be split."""
    rows = [work.rows for work in batch]
    strange = next(_with_other_rows(inputs, sum(rows)), None)
    first = next(iter(inputs), None)
    if strange is None and first is not None:
        given = [work.tensors[first].shape[0] for work in batch]
        strange = first if given != rows else None
    if strange is not None:
        raise ValueError(f"'{strange}' has other rows than were counted: {rows}")


def _with_other_rows(arrays: Arrays, rows: int) -> Iterator[str]:
    """The arrays whose first dimension is not *rows*."""
    for name, array in arrays.items():
        if array.ndim == 0 or array.shape[0] != rows:
            yield name


def _gathered(singles: Sequence[Ran], error: Exception) -> Ran:
    """The jobs of a batch that failed as a whole with *error*, after each ran by itself."""
    timings = [single.timing for single in singles]
    whys = [str(error)] if isinstance(error, _RowsLost) else []
    whys += [single.unsplittable for single in singles]
    return Ran(
        [result for single in singles for result in single.results],
        Timing(
            sum(timing.input_ns for timing in timings),
            sum(timing.infer_ns for timing in timings),
            sum(timing.output_ns for timing in timings),
        ),
        next((single.error for single in singles if single.error), error),
        next(filter(None, whys), ""),
    )


def _joined(batch: Sequence[Work], name: str) -> Array:
    return np.concatenate([work.tensors[name].array() for work in batch])


def _alone(batch: Sequence[Work], name: str) -> Array:
    return batch[0].tensors[name].array()


def _sample_shape(shape: Sequence[int], rows: int | None) -> list[int]:
    sizes = [1 if size < 0 else size for size in shape]
    if rows is not None and shape and shape[0] < 0:
        sizes[0] = rows
    return sizes


def _zeros(datatype: str, shape: Sequence[int]) -> Array:
    if datatype == "BYTES":
        return np.full(shape, b"", dtype=np.object_)
    return np.zeros(shape, dtype=NUMPY_TYPES[datatype])


def failure_of(error: Exception) -> Failure:
    """What a job is told of *error*: the first line of its text."""
    text = str(error).strip().split("\n", 1)[0] or type(error).__name__
    code = error.code if isinstance(error, PenstockError) else Code.INTERNAL
    return Failure(code, text)
