"""Whether a cache that was lost comes back equal to the bit, tried on the exported stages.

Made-up tokens are read at once, in chunks, and one by one beside others; logits and caches are
compared. What is seen holds for this processor and this runtime.
"""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from penstock.language.manifest import Manifest
from penstock.language.speech.tokens import Speech
from penstock.process import machine
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.language.stage import Floats, numeric_domain

_TOKENS: Final = 48
_CHUNKS: Final = (16, 7, 1)
_BESIDE: Final = (1, 2, 4)
"""Batches in which the tokens are decoded one by one."""

_AHEAD: Final = 3
"""Tokens by which each of them is ahead of the next."""

_MOST_POSITIONS: Final = 128
_SEED: Final = 44


class Proof(NamedTuple):
    """What was seen: *rebuild* as in the manifest, and where."""

    rebuild: str
    proved_on: str


class _Seen(NamedTuple):
    """Logits behind each token, and the cache afterwards."""

    logits: Floats
    cached: list[Floats]

    def equals(self, other: "_Seen") -> bool:
        """To the bit."""
        pairs = zip((self.logits, *self.cached), (other.logits, *other.cached), strict=True)
        return all(np.array_equal(one, two) for one, two in pairs)


def prove(directory: Path, manifest: Manifest) -> Proof:
    """Try the version in *directory*; `rebuild` says what is equal to the bit.

    ``prefill``: whatever the chunks and the neighbours. ``replay``: tokens one by one, whatever the
    neighbours. ``none``: not even that.
    """
    count = min(_TOKENS, manifest.context - _AHEAD * max(_BESIDE))
    room = max(_BESIDE), _MOST_POSITIONS
    pipeline = Pipeline.open(directory, manifest, *room, threads=machine.cores())
    if manifest.speech is not None:
        _hear(pipeline, manifest.speech)
    tokens = np.random.default_rng(_SEED).integers(manifest.vocabulary, size=(max(_BESIDE), count))
    one_by_one = _read(pipeline, tokens, 1)
    beside = all(_beside(pipeline, tokens, batch).equals(one_by_one) for batch in _BESIDE)
    at_once = [_read(pipeline, tokens, chunk) for chunk in (count, *_CHUNKS)]
    where = numeric_domain()
    if beside and all(seen.equals(one_by_one) for seen in at_once):
        return Proof("prefill", where)
    return Proof("replay" if beside else "none", where)


def _hear(pipeline: Pipeline, speech: Speech) -> None:
    """All slots hear the same noise, each by itself: what they have of it is compared as well."""
    noise = np.random.default_rng(_SEED).uniform(-1, 1, speech.samples).astype(np.float32)
    for slot in range(max(_BESIDE)):
        pipeline.hear(slot, noise)


def _read(pipeline: Pipeline, tokens: np.ndarray, chunk: int) -> _Seen:
    """The first row of *tokens*, alone in slot 0, *chunk* at a time."""
    logits = []
    for begin in range(0, tokens.shape[1], chunk):
        piece = tokens[:1, begin : begin + chunk]
        columns = np.arange(piece.shape[1])
        wanted = np.stack([np.zeros_like(columns), columns], axis=1)
        logits.append(pipeline.step(piece, np.array([begin]), wanted))
    return _Seen(np.concatenate(logits), pipeline.cached(0, tokens.shape[1]))


def _beside(pipeline: Pipeline, tokens: np.ndarray, batch: int) -> _Seen:
    """The same one by one, in the last of *batch* slots, beside others that are further on."""
    slot = batch - 1
    tokens = np.roll(tokens[:batch], -1, axis=0)
    ahead = [_AHEAD * (slot - other) for other in range(batch)]
    nothing = np.empty((0, 2), np.int64)
    for other in range(slot):
        before = tokens[other : other + 1, : ahead[other]]
        pipeline.step(before, np.zeros(1, np.int64), nothing, other)
    logits = []
    for position in range(tokens.shape[1]):
        start = np.array([position + more for more in ahead])
        column = tokens[:, position : position + 1]
        logits.append(pipeline.step(column, start, np.array([[slot, 0]])))
    return _Seen(np.concatenate(logits), pipeline.cached(slot, tokens.shape[1]))
