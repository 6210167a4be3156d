"""The sampler: from a row of logits to the next token, a function of the request and its log.

Nothing is remembered from one token to the next: what is drawn follows from the seed and the
position alone (Philox 4x64-10, a counter-based generator; Salmon et al., 2011), and penalties from
the tokens so far. So another worker goes on as this one would have.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from penstock.language.options import DecodingOptions

Floats = npt.NDArray[np.float64]

_UNIT: Final = 2.0**-53


def next_token(
    logits: npt.NDArray[np.float32],
    options: DecodingOptions,
    prompt: Sequence[int],
    log: Sequence[int],
    allowed: npt.NDArray[np.int64] | None = None,
) -> int:
    """The token that follows *prompt* and *log*.

    Args:
        logits: float32[vocabulary].
        options: with a seed, unless the temperature is 0.
        log: tokens of the answer so far.
        allowed: int64[count], ascending, at least one: the tokens that may follow; None for all.
    """
    if allowed is not None:
        scores = _penalized(logits, options, prompt, log)[allowed]
        return int(allowed[_chosen(scores, options, len(log))])
    if options.temperature == 0 and not _is_changed(options):
        token = int(logits.argmax())
        if not np.isnan(logits[token]):
            return token
    return _chosen(_penalized(logits, options, prompt, log), options, len(log))


def _chosen(scores: Floats, options: DecodingOptions, position: int) -> int:
    """Which of *scores* is taken."""
    # Where nothing speaks for any of them, as without a number among the logits: the first.
    if options.temperature == 0 or scores.max() == -np.inf:
        return int(scores.argmax())
    tokens, weights = _candidates(scores / options.temperature, options)
    sums = np.cumsum(weights)
    drawn = uniform(options.seed or 0, position) * sums[-1]
    # Rounding may put the drawn number onto the last sum itself.
    return int(tokens[min(int(np.searchsorted(sums, drawn, side="right")), len(tokens) - 1)])


def uniform(seed: int, position: int) -> float:
    """A number from [0, 1): the first word of Philox, of key *seed* and counter *position* + 1."""
    word = np.random.Philox(key=seed, counter=position).random_raw()
    return (int(word) >> 11) * _UNIT


def _is_changed(options: DecodingOptions) -> bool:
    penalties = options.presence_penalty, options.frequency_penalty
    return options.repetition_penalty != 1 or any(penalties) or bool(options.logit_bias)


def _penalized(
    logits: npt.NDArray[np.float32],
    options: DecodingOptions,
    prompt: Sequence[int],
    log: Sequence[int],
) -> Floats:
    scores = logits.astype(np.float64)
    # What is no number must win nowhere.
    scores[np.isnan(scores)] = -np.inf
    if options.repetition_penalty != 1:
        seen = np.unique(np.fromiter((*prompt, *log), np.int64))
        by = options.repetition_penalty
        scores[seen] = np.where(scores[seen] > 0, scores[seen] / by, scores[seen] * by)
    if log and (options.presence_penalty or options.frequency_penalty):
        tokens, counts = np.unique(np.fromiter(log, np.int64), return_counts=True)
        scores[tokens] -= options.presence_penalty + options.frequency_penalty * counts
    for token, bias in options.logit_bias.items():
        if token < len(scores):
            scores[token] += bias
    return scores


def _candidates(scores: Floats, options: DecodingOptions) -> tuple[npt.NDArray[np.intp], Floats]:
    """Tokens that may be drawn, and their weights; in their own order where all may be.

    Otherwise the likeliest comes first, and of equal ones the lower.
    """
    top_k, top_p, min_p = options.top_k, options.top_p, options.min_p
    tokens = np.arange(len(scores))
    if 0 < top_k < len(scores):
        least = np.partition(scores, -top_k)[-top_k]
        tokens = np.flatnonzero(scores >= least)
        tokens = tokens[np.argsort(-scores[tokens], kind="stable")[:top_k]]
    weights = np.exp(scores[tokens] - scores.max())
    if top_p == 1 and min_p == 0:
        return tokens, weights
    total = weights.sum()
    # All that are lighter have together less than what `top_p` leaves out: none is sorted.
    least_weight = max(min_p, (1 - top_p) * total / len(tokens))
    heavy = np.flatnonzero(weights >= least_weight)
    # By their scores: weights of scores that differ by less than rounding are equal.
    order = heavy[np.argsort(-scores[tokens[heavy]], kind="stable")]
    tokens, weights = tokens[order], weights[order]
    if top_p < 1:
        # As many as are needed to reach it, and always one.
        keep = int(np.searchsorted(np.cumsum(weights), top_p * total, side="left")) + 1
        tokens, weights = tokens[:keep], weights[:keep]
    return tokens, weights
