"""Word2vec and GloVe by the same descent, which takes a block of the table of counts a step.

A million words are few for 256 dimensions that begin at random. So both begin at the largest
singular vectors of PPMI, which word2vec finds in the end (Levy and Goldberg, 2014), and train
from there on.
"""

from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from zoo.common.place import Place
from zoo.word_vectors.data import JUDGED, Corpus, correlation, ppmi, read, together
from zoo.word_vectors.network import WIDTH

ROWS, COLUMNS = 1024, 4096
"""Of a block: so many words, and so many others that they may stand near to."""
EPOCHS = 3
RATE = 0.02
COMMON = 10.0
"""Counts from which on GloVe takes pairs in full."""
NEGATIVE = 5
"""Words drawn at random for each that stands near: as many, in the mean."""
THINNED = 2e-4
"""Words with a larger share of the text are read less often, by the root of that."""


def train(place: Place) -> None:
    """Write the words, the vectors of both, and how well counting does."""
    corpus, counted, epochs = read(), together(), 1 if place.quick else EPOCHS
    rows = ppmi()
    start = beginning(rows)
    place.save(
        {
            "words": np.array(corpus.words),
            "word2vec": word2vec(thinned(counted, corpus), start, epochs).numpy(),
            "glove": glove(counted, start, epochs).numpy(),
            "ppmi": np.array(_counting(corpus, rows)),
        }
    )


def beginning(rows: sparse.csr_matrix) -> tuple[Tensor, Tensor]:
    """Vectors [words, 256] of words and of others, whose products are nearly PPMI."""
    from sklearn.utils.extmath import randomized_svd

    left, sizes, right = randomized_svd(rows, WIDTH, n_oversamples=20, n_iter=3, random_state=1)
    both = (left * sizes**0.5, right.T * sizes**0.5)
    # A corpus of fewer words than that has fewer singular vectors.
    padded = (np.pad(part, ((0, 0), (0, WIDTH - part.shape[1]))) for part in both)
    words, others = (torch.from_numpy(part.astype(np.float32)) for part in padded)
    return words, others


def thinned(counted: sparse.csr_matrix, corpus: Corpus) -> sparse.csr_matrix:
    """What remains of the counts, in the mean, if frequent words are skipped at random."""
    share = corpus.counts / corpus.counts.sum()
    kept = sparse.diags(np.minimum(1, np.sqrt(THINNED / share)).astype(np.float32))
    return (kept @ counted @ kept).tocsr()


def _counting(corpus: Corpus, rows: sparse.csr_matrix) -> list[float]:
    """Rank correlation with people's judgements of the rows of PPMI."""
    numbers = {word: number for number, word in enumerate(corpus.words)}
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel()) + 1e-9

    def likeness(first: str, second: str) -> float:
        one, other = numbers[first], numbers[second]
        product = rows[one].multiply(rows[other]).sum()
        return float(product / (lengths[one] * lengths[other]))

    return [correlation(name, likeness) for name in JUDGED]


class Table:
    """Vectors by number, with AdaGrad: the more a value has moved, the shorter its steps."""

    def __init__(self, values: Tensor) -> None:
        self.values = values.clone()
        self._squares = torch.full_like(values, 1e-4)

    def step(self, numbers: Tensor, slope: Tensor, rate: float) -> None:
        """Move some of them against the loss's slope [numbers, width]."""
        squares = self._squares[numbers] + slope**2
        self._squares[numbers] = squares
        self.values[numbers] -= rate * slope / squares.sqrt()


def blocks(
    counted: sparse.csr_matrix, epochs: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, float]]:
    """Words [r], others [c], their counts [r, c], and which share of the way is left.

    Each pair of a word and another comes once an epoch, in blocks drawn at random.
    """
    size, chance = counted.shape[0], np.random.default_rng(1)
    parts = np.array_split(chance.permutation(size), -(-size // COLUMNS))
    counts = [counted[:, part].tocsr() for part in parts]
    for epoch in range(epochs):
        groups = np.array_split(chance.permutation(size), -(-size // ROWS))
        order = chance.permutation(len(groups) * len(parts))
        for done, place in enumerate(order):
            rows, part = groups[place // len(parts)], place % len(parts)
            left = 1 - (epoch + done / len(order)) / epochs
            dense = torch.from_numpy(counts[part][rows].toarray())
            yield torch.from_numpy(rows), torch.from_numpy(parts[part]), dense, left


def word2vec(counted: sparse.csr_matrix, start: tuple[Tensor, Tensor], epochs: int) -> Tensor:
    """Skip-gram: is this word near that one, or was it drawn at random?"""
    words, others = map(Table, start)
    often = _sums(counted)
    noise = often**0.75 / (often**0.75).sum()
    for rows, columns, near, left in blocks(counted, epochs):
        w, c = words.values[rows], others.values[columns]
        drawn = NEGATIVE * often[rows][:, None] * noise[columns]
        slope = (w @ c.T).sigmoid_() * (near + drawn) - near
        words.step(rows, slope @ c, RATE * left)
        others.step(columns, slope.T @ w, RATE * left)
    return words.values + others.values


def glove(counted: sparse.csr_matrix, start: tuple[Tensor, Tensor], epochs: int) -> Tensor:
    """Vectors whose products, with a constant for each word, are the logarithms of counts."""
    words, others = map(Table, start)
    often = _sums(counted)
    bias = (often.log() - often.sum().log() / 2)[:, None]
    word_bias, other_bias = Table(bias), Table(bias)
    for rows, columns, near, left in blocks(counted, epochs):
        w, c, rate = words.values[rows], others.values[columns], RATE * left
        product = w @ c.T + word_bias.values[rows] + other_bias.values[columns].T
        weight = (near / COMMON).clamp_(max=1) ** 0.75
        slope = weight * (product - near.clamp_(min=1e-9).log_())
        words.step(rows, slope @ c, rate)
        others.step(columns, slope.T @ w, rate)
        word_bias.step(rows, slope.sum(1, keepdim=True), rate)
        other_bias.step(columns, slope.sum(0)[:, None], rate)
    return words.values + others.values


def _sums(counted: sparse.csr_matrix) -> Tensor:
    return torch.from_numpy(np.asarray(counted.sum(axis=1), np.float32).ravel())
