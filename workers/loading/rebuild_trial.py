"""The trial of rebuilding: whether a cache that was lost comes back equal to the bit.

Made-up columns are read at once, in chunks, and one by one beside others; what comes out is
compared, and so are the caches. A stage is tried by itself: where each gives equal bits for equal
hidden states, so do all of them behind each other. What is seen holds for this processor, this
runtime and this number of threads.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import structlog

from penstock.clock import monotonic
from penstock.language.manifest import Manifest
from penstock.language.rebuild import Rebuild, weakest
from penstock.process import machine
from penstock.workers.language.cache.proof import Steps
from penstock.workers.language.engine import CHUNK
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.language.runtime import LanguageRuntime
from penstock.workers.language.stage import Floats, Tokens, numeric_domain

log = structlog.get_logger()

_AHEAD: Final = 3
"""Tokens by which each of those that are decoded together is ahead of the next."""

_MOST_POSITIONS: Final = 128
_SEED: Final = 44

LONGEST_S: Final = 60.0
"""A worker's trial ends within this, and one step: what it has not seen is not proved."""

_WANTED_S: Final = 10.0
_LEAST_COLUMNS: Final = 8


class Trial(NamedTuple):
    """How much is tried.

    Attributes:
        columns: that are read one by one as well.
        chunks: in which they are read, beside all of them at once.
        beside: batches in which they are decoded one by one.
        most: columns that are read at once and in the first of the chunks alone: as many as the
            engine reads in one step.
    """

    columns: int
    chunks: tuple[int, ...]
    beside: tuple[int, ...]
    most: int = CHUNK


EXPORTERS: Final = Trial(48, (16, 7, 1), (1, 2, 4))
WORKERS: Final = Trial(24, (16, 7), (2, 4))
"""Each load of a new version waits for it, so it is shorter than the exporter's."""


class Proof(NamedTuple):
    """What was seen: *rebuild* as in the manifest, and where."""

    rebuild: Rebuild
    proved_on: str


class Finding(NamedTuple):
    """What a worker goes by.

    Attributes:
        rebuild: the weaker of what was seen here and what the exporter saw.
        seen: what was seen here, to be kept for others; empty where nothing was tried.
    """

    rebuild: Rebuild
    seen: str = ""


class TookTooLong(Exception):
    """The trial's time was over before it had seen all."""


def prove(directory: Path, manifest: Manifest) -> Proof:
    """Try the version in *directory*, all stages behind each other, with all cores."""
    threads = machine.cores()
    room = max(EXPORTERS.beside), _MOST_POSITIONS
    pipeline = Pipeline.open(directory, manifest, *room, threads=threads)
    trial = _fitting(EXPORTERS, *room, pipeline.capacity)
    _hear(pipeline, manifest, max(trial.beside))
    shape = max(trial.beside), trial.most
    tokens = np.random.default_rng(_SEED).integers(manifest.vocabulary, size=shape)
    return Proof(tried(pipeline, tokens, trial), numeric_domain(threads))


def rebuild_here(
    runtime: LanguageRuntime, kept: str | None, longest_s: float = LONGEST_S
) -> Finding:
    """How a lost cache of *runtime*'s stage comes back on this worker, tried if nobody knows.

    Args:
        kept: what another worker saw on the same processor, runtime and number of threads.
        longest_s: what takes longer is not proved, and not kept either.
    """
    manifest, here = runtime.manifest, runtime.numeric_domain
    if manifest.proved_on == here or manifest.rebuild == Rebuild.NONE:
        return Finding(manifest.rebuild)
    if kept is not None:
        return Finding(weakest([manifest.rebuild, kept]))
    began_s = monotonic()
    try:
        seen = _tried_stage(runtime, monotonic() + longest_s)
    except TookTooLong:
        log.warning(
            "how a lost cache comes back was not seen in time, so nothing is relied on",
            longest_s=longest_s,
            here=here,
        )
        return Finding(Rebuild.NONE)
    took_s = round(monotonic() - began_s, 1)
    log.info("how a lost cache comes back was tried", seen=seen.value, here=here, took_s=took_s)
    return Finding(weakest([manifest.rebuild, seen]), seen.value)


def tried(
    subject: Steps, columns: npt.NDArray[Any], trial: Trial, ends_s: float = np.inf
) -> Rebuild:
    """What of *subject* is equal to the bit.

    Args:
        columns: int64[batch, trial.most] tokens, or float32[batch, trial.most, width] hidden
            states.
        ends_s: of the monotonic clock.

    Raises:
        TookTooLong: that is over.
    """
    reader = _Reader(subject, columns[:, : trial.columns], ends_s)
    one_by_one = reader.read(1)
    beside = all(reader.beside(batch).equals(one_by_one) for batch in trial.beside)
    if not beside:
        return Rebuild.NONE
    chunk, wide = trial.chunks[0], _Reader(subject, columns, ends_s)
    at_once = all(reader.read(size).equals(one_by_one) for size in (trial.columns, *trial.chunks))
    if at_once and wide.read(trial.most).equals(wide.read(chunk)):
        return Rebuild.PREFILL
    # The prompt is read in the same chunks as before: these must come out as before, at least.
    return Rebuild.REPLAY if reader.read(chunk).equals(reader.read(chunk)) else Rebuild.NONE


def _tried_stage(runtime: LanguageRuntime, ends_s: float) -> Rebuild:
    stage = runtime.stage
    began_s = monotonic()
    stage.warm_up(1)
    one_s = max(monotonic() - began_s, 1e-6)
    # Each column is computed once in each batch, and once more alone.
    most = int(_WANTED_S / one_s / (1 + len(WORKERS.beside)))
    wanted = WORKERS._replace(columns=max(_LEAST_COLUMNS, min(WORKERS.columns, most)))
    trial = _fitting(wanted, runtime.slots, _MOST_POSITIONS, stage.capacity)
    _hear(stage, runtime.manifest, max(trial.beside))
    chance, shape = np.random.default_rng(_SEED), (max(trial.beside), trial.most)
    columns = (
        chance.integers(runtime.manifest.vocabulary, size=shape)
        if runtime.begins
        else chance.standard_normal((*shape, stage.width), np.float32)
    )
    return tried(stage, columns, trial, ends_s)


def _hear(subject: Steps, manifest: Manifest, slots: int) -> None:
    """Let all slots of a model of speech hear the same noise: what they have of it counts."""
    if manifest.speech is None:
        return
    noise = np.random.default_rng(_SEED).uniform(-1, 1, manifest.speech.samples)
    for slot in range(slots):
        subject.hear(slot, noise.astype(np.float32))


def _fitting(trial: Trial, slots: int, most: int, capacity: int) -> Trial:
    """As much of *trial* as there is room for."""
    beside = tuple(sorted({min(batch, slots) for batch in trial.beside}))
    room = min(most, capacity) - _AHEAD * (max(beside) - 1)
    columns = max(1, min(trial.columns, room))
    return trial._replace(columns=columns, beside=beside, most=min(trial.most, most, capacity))


class _Seen(NamedTuple):
    """What came out for each column, and the cache afterwards."""

    made: Floats
    cached: list[Floats]

    def equals(self, other: "_Seen") -> bool:
        """To the bit."""
        pairs = zip((self.made, *self.cached), (other.made, *other.cached), strict=True)
        return all(np.array_equal(one, two) for one, two in pairs)


class _Reader:
    """Reads the first row of *columns* with *subject*, in many ways."""

    def __init__(self, subject: Steps, columns: npt.NDArray[Any], ends_s: float) -> None:
        self._subject = subject
        self._columns = columns
        self._ends_s = ends_s

    def read(self, chunk: int) -> _Seen:
        """Alone in slot 0, *chunk* columns at a time."""
        made, length = [], self._columns.shape[1]
        for begin in range(0, length, chunk):
            piece = self._columns[:1, begin : begin + chunk]
            columns = np.arange(piece.shape[1])
            wanted = np.stack([np.zeros_like(columns), columns], axis=1)
            made.append(_row(self._step(piece, np.array([begin]), wanted), 0))
        return _Seen(np.concatenate(made), self._subject.cached(0, length))

    def beside(self, batch: int) -> _Seen:
        """One by one, in the last of *batch* slots, beside others that are further on."""
        slot = batch - 1
        columns = np.roll(self._columns[:batch], -1, axis=0)
        ahead = [_AHEAD * (slot - other) for other in range(batch)]
        nothing = np.empty((0, 2), np.int64)
        for other in range(slot):
            before = columns[other : other + 1, : ahead[other]]
            self._step(before, np.zeros(1, np.int64), nothing, other)
        made, length = [], columns.shape[1]
        for position in range(length):
            start = np.array([position + more for more in ahead])
            column = columns[:, position : position + 1]
            made.append(_row(self._step(column, start, np.array([[slot, 0]])), slot))
        return _Seen(np.concatenate(made), self._subject.cached(slot, length))

    def _step(
        self, columns: npt.NDArray[Any], start: Tokens, wanted: Tokens, slot: int = 0
    ) -> Floats:
        if monotonic() > self._ends_s:
            raise TookTooLong
        return self._subject.step(columns, start, wanted, slot)


def _row(made: Floats, row: int) -> Floats:
    """Of hidden states those of *row*; of logits all, since no others were wanted."""
    return made[row] if made.ndim == 3 else made
