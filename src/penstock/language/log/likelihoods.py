"""Likelihoods: from a row of logits to how likely a token was, as its entry in the log has it."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from penstock.language.log.entries import as_words
from penstock.language.options import DecodingOptions

LEAST: Final = -9999.0
"""What is less likely is told as this, as other servers do: JSON has no infinity."""


def entry_of(
    token: int, logits: npt.NDArray[np.float32], options: DecodingOptions
) -> Sequence[int]:
    """The words of *token*'s entry in the log.

    The distribution is that of *logits* alone: no temperature, penalty, bias or mask has changed
    it. So a draw may be told as unlikely that had no rival.

    Args:
        logits: float32[vocabulary].
    """
    count = options.logprobs
    if count is None:
        return (token,)
    scores = logits.astype(np.float64)
    scores[np.isnan(scores)] = -np.inf
    logprobs = _logprobs(scores)
    rank = 1 + np.count_nonzero(scores > scores[token])
    rank += np.count_nonzero(scores[:token] == scores[token])
    # Where there are fewer tokens than were asked for, the rest is no number.
    likeliest = np.full((count, 2), np.nan, np.float32)
    best = _best(scores, min(count, len(scores)))
    likeliest[: len(best), 1] = logprobs[best]
    likeliest[: len(best), 0] = best.astype(np.uint32).view(np.float32)
    head = np.array([token], np.uint32), logprobs[token : token + 1], np.array([rank], np.uint32)
    return as_words(*head, likeliest.reshape(-1))


def _logprobs(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    most = scores.max()
    if not np.isfinite(most):
        return np.full(len(scores), LEAST, np.float32)
    below = scores - most
    found = below - np.log(np.exp(below).sum())
    logprobs: npt.NDArray[np.float32] = np.maximum(found, LEAST).astype(np.float32)
    return logprobs


def _best(scores: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """The *count* likeliest tokens, the likeliest first, and of equal ones the lower."""
    if not count:
        return np.zeros(0, np.intp)
    least = np.partition(scores, -count)[-count]
    tokens = np.flatnonzero(scores >= least)
    return tokens[np.argsort(-scores[tokens], kind="stable")[:count]]
