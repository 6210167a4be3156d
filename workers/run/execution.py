"""Running one batch: concatenate, compute, split. Pure but for the clock and the runtime.

A batch that fails is run again one job at a time, so that bad input harms only its own job.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np

from penstock.errors import Code, PenstockError, first_line, forget_frames
from penstock.scheduler.jobs.types import Timing
from penstock.tensors import Array
from penstock.workers.run import encoding
from penstock.workers.run.made_up import made_up
from penstock.workers.run.reshaping import Reshaping
from penstock.workers.run.tensor import Tensor
from penstock.workers.run.work import Work
from penstock.workers.runtimes.runtime import Runtime

Arrays = Mapping[str, Array]
R_co = TypeVar("R_co", bound=Runtime, covariant=True)

_MOST_KEPT_BYTES: Final = 16 << 20
"""Of a request that is kept to try the device on."""


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


class Execution(Generic[R_co]):
    """One stage of one model version on one runtime."""

    def __init__(
        self,
        runtime: R_co,
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
        # What it has run on, to try the device on; see `try_device`.
        self._runs_on: Arrays | None = None
        self._takes_nothing_made_up = False
        self._datatypes = {spec.name: spec.datatype for spec in runtime.signature.outputs}

    @property
    def inline(self) -> bool:
        """Whether it may run on any thread, and its inputs' shapes tell how much that computes."""
        return self._runtime.any_thread and self._runtime.fixed_work

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
                return Ran([self._failure(error)], Timing(), error)
            singles = [self.run([work]) for work in batch]
            return _gathered(singles, error)

    def timed_run(self, batch: Sequence[Work]) -> tuple[Ran, float]:
        """`run`, and how many seconds it took: without the way to the thread that calls this.

        An idle machine takes as long to wake a thread as a small shard computes, which would then
        never be known to be short.
        """
        began_s = time.perf_counter()
        ran = self.run(batch)
        return ran, time.perf_counter() - began_s

    def warm_up_on(self, sample: Arrays) -> str:
        """Run on a request's inputs.

        Returns why requests must not share a run, should it be seen; else an empty text.
        """
        return self._warm_up(self._reshaping.inward(sample) if self._reshaping else sample)

    def warm_up(self, rows: int) -> tuple[str, str]:
        """Run on inputs of *rows* rows that are made up: the first kind that the shard takes.

        Returns the kind, and what `warm_up_on` does.

        Raises:
            Exception: what the shard raises of the first kind, if it takes none.
        """
        refused: Exception | None = None
        specs = self._runtime.signature.inputs
        for kind, inputs in made_up(specs, rows if self._batched else None):
            try:
                return kind, self._warm_up(inputs)
            except Exception as error:  # noqa: BLE001 - runtimes raise what they like
                refused = refused or error
        self._takes_nothing_made_up = True
        raise refused or AssertionError("there are several kinds")

    def try_device(self) -> None:
        """Run again what it was warmed up on; or the first request that ran, if it was on nothing.

        Nothing runs where nothing is known to: then the device is not suspected.

        Raises:
            Exception: it does not run any more.
        """
        if self._runs_on is not None:
            self._runtime.run(self._runs_on, list(self._produces))
        elif not self._takes_nothing_made_up:
            self.warm_up(1)

    def _warm_up(self, inputs: Arrays) -> str:
        found = self._rows_lost(inputs, self._runtime.run(inputs, list(self._produces)))
        if self._runs_on is None:
            self._runs_on = inputs
        return found

    def _keep_to_try(self, inputs: Arrays) -> None:
        """Keep a copy of the first request that ran: what it lies in belongs to others."""
        if sum(map(_bytes_of, inputs.values())) <= _MOST_KEPT_BYTES:
            self._runs_on = {name: array.copy() for name, array in inputs.items()}

    def _failure(self, error: Exception) -> Failure:
        """What a job is told that failed by itself."""
        return failure_of(error)

    def _compute(self, inputs: Arrays, batch: Sequence[Work]) -> dict[str, Array]:
        """What the runtime makes of *inputs*, which those of *batch* were joined to."""
        del batch  # for those to whom more than its tensors matters
        return self._runtime.run(inputs, self._produces)

    def _run_together(self, batch: Sequence[Work]) -> Ran:
        started = time.perf_counter_ns()
        # Requests that leave out different inputs do not share a batch (decoding.py).
        given = batch[0].tensors
        inputs = {name: _joined(batch, name) for name in self._consumes if name in given}
        if len(batch) > 1:
            _check_rows(inputs, batch)
        if self._reshaping is not None:
            inputs = self._reshaping.inward(inputs)
        ready = time.perf_counter_ns()
        arrays = self._compute(inputs, batch)
        if self._reshaping is not None:
            arrays = self._reshaping.outward(arrays)
        computed = time.perf_counter_ns()
        if self._takes_nothing_made_up and self._runs_on is None:
            self._keep_to_try(inputs)
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


class CodeExecution(Execution[R_co]):
    """One of a model that is code of its own, which is never run on what is made up."""

    def warm_up(self, rows: int) -> tuple[str, str]:
        """Nothing: nobody knows what its code would make of what is made up."""
        del rows
        return "", ""

    def try_device(self) -> None:
        """Nothing: what its code raises says nothing of the device."""


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
    timings = zip(*(single.timing for single in singles), strict=True)
    whys = [str(error)] if isinstance(error, _RowsLost) else []
    whys += [single.unsplittable for single in singles]
    return Ran(
        [result for single in singles for result in single.results],
        Timing(*map(sum, timings)),
        next((single.error for single in singles if single.error), error),
        next(filter(None, whys), ""),
    )


def _joined(batch: Sequence[Work], name: str) -> Array:
    if len(batch) == 1:
        return batch[0].tensors[name].array()
    return np.concatenate([work.tensors[name].array() for work in batch])


def _bytes_of(array: Array) -> int:
    texts = array.reshape(-1) if array.dtype == object else ()
    return array.nbytes + sum(map(len, texts))


def failure_of(error: Exception) -> Failure:
    """What a job is told of *error*: the first line of its text."""
    text = first_line(error) or type(error).__name__
    code = error.code if isinstance(error, PenstockError) else Code.INTERNAL
    return Failure(code, text)
