"""WordNet's glosses as a corpus, and what people say of how alike words are."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import sparse

from zoo.common.packages import unpacked

WINDOW = 6
SEEN_AT_LEAST = 12
STOPPED = 60
"""The most frequent words say little, and are left out."""

JUDGED = {"SimLex-999": "simlex999.txt", "WordSim-353": "wordsim353.tsv"}
"""How alike, and how related."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Words by number, most frequent first; how often each is there; the glosses as numbers."""

    words: list[str]
    counts: Numbers
    glosses: list[Numbers]


@cache
def read() -> Corpus:
    """117,659 entries: the words that mean it, then what it means."""
    lines = [_words(line) for line in _entries()]
    counts = Counter(word for line in lines for word in line)
    kept = [word for word, count in counts.most_common() if count >= SEEN_AT_LEAST][STOPPED:]
    numbers = {word: number for number, word in enumerate(kept)}
    glosses = [np.array([numbers[word] for word in line if word in numbers]) for line in lines]
    glosses = [gloss for gloss in glosses if len(gloss) > 1]
    return Corpus(kept, np.array([counts[word] for word in kept]), glosses)


def _entries() -> list[str]:
    folder = unpacked("wordnet-base") / "usr" / "share" / "wordnet"
    texts = [(folder / f"data.{part}").read_text() for part in ("noun", "verb", "adj", "adv")]
    return [line for text in texts for line in text.splitlines() if not line.startswith("  ")]


def _words(line: str) -> list[str]:
    """The entry's own words, and its gloss."""
    fields, _, gloss = line.partition(" | ")
    parts = fields.split()
    names = parts[4 : 4 + 2 * int(parts[3], 16) : 2]
    own = re.findall("[a-z]+", " ".join(names).lower().replace("_", " "))
    return [*own, *re.findall("[a-z]+", gloss.lower())]


@cache
def together() -> sparse.csr_matrix:
    """How often word i stands near word j in a gloss [words, words]."""
    corpus = read()
    text = np.concatenate([np.append(gloss, -1) for gloss in corpus.glosses])
    entry = np.repeat(np.arange(len(corpus.glosses)), [len(one) + 1 for one in corpus.glosses])
    found = sparse.csr_matrix((len(corpus.words),) * 2, dtype=np.float32)
    for step in range(1, WINDOW + 1):
        near = (entry[:-step] == entry[step:]) & (text[:-step] >= 0) & (text[step:] >= 0)
        pairs = text[:-step][near], text[step:][near]
        ones = np.ones(len(pairs[0]), np.float32)
        found += sparse.coo_matrix((ones, pairs), found.shape).tocsr()
    return (found + found.T).tocsr()


def ppmi() -> sparse.csr_matrix:
    """max(0, log p(i, j) / p(i) p(j)): what counting alone knows."""
    counted = together().tocoo()
    every = np.asarray(counted.sum(axis=1)).ravel()
    expected = every[counted.row] * every[counted.col] / every.sum()
    values = np.maximum(0, np.log(counted.data / expected))
    found = sparse.coo_matrix((values, (counted.row, counted.col)), counted.shape).tocsr()
    found.eliminate_zeros()
    return found


def judged(name: str) -> list[tuple[str, str, float]]:
    """Pairs of words that people have judged, both in the vocabulary."""
    path = unpacked("gensim") / "gensim" / "test" / "test_data" / JUDGED[name]
    known, found = set(read().words), []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if not line.startswith("#") and len(fields) > 2 and {fields[0], fields[1]} <= known:
            found.append((fields[0], fields[1], float(fields[2])))
    return found


def correlation(name: str, likeness: Callable[[str, str], float]) -> float:
    """Spearman's, of ranks: people's judgements of the pairs, and *likeness* of the two words."""
    from scipy.stats import spearmanr

    pairs = judged(name)
    found = [likeness(first, second) for first, second, _ in pairs]
    return float(spearmanr(found, [score for *_, score in pairs])[0])
