"""Entries of an answer's log: its tokens, each with how likely it was where that was asked for.

An entry is a row of words, uint32 each, little-endian in the log:

token, and if the request asks for `logprobs`:
its log probability (the bits of a float32)
its rank: 1 for the likeliest
so many times as are asked for, the likeliest first: a token, and its log probability

Where the request asks for `echo` as well, the tokens of its prompt are before those of the answer,
from the second one on: the first has nothing that it could follow from.

How many words and entries there are follows from the request, so a log says nothing of it. All that
counts positions in logs counts words.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.language.options import DecodingOptions

WORD_BYTES: Final = 4

Words = npt.NDArray[np.uint32]


class Likelihood(NamedTuple):
    """How likely a token was, before anything that the request asks for changed that.

    Attributes:
        logprob: the logarithm of its probability, or -9999 where that is less.
        rank: 1 for the likeliest; of equal ones the lower token comes first.
        likeliest: token, log probability: those that were asked for, in order.
    """

    logprob: float
    rank: int
    likeliest: Sequence[tuple[int, float]]


def words_of_entry(options: DecodingOptions) -> int:
    """How many words an entry of the answer to such a request has."""
    return 1 if options.logprobs is None else 3 + 2 * options.logprobs


def prompt_entries(options: DecodingOptions, prompt_tokens: int) -> int:
    """How many entries the log begins with that are of the prompt."""
    return prompt_tokens - 1 if options.echo and options.logprobs is not None else 0


def entries_in(packed: bytes, options: DecodingOptions) -> Words:
    """uint32[tokens, words]: whole entries as a log has them; tokens are the first column."""
    return np.frombuffer(packed, "<u4").reshape(-1, words_of_entry(options))


def likelihood_in(entry: Words) -> Likelihood:
    """How likely the token of an entry was, which must say so."""
    numbers = entry.view(np.float32)
    # A vocabulary may have fewer tokens than are asked for.
    there = ~np.isnan(numbers[4::2])
    tokens, logprobs = entry[3::2][there].tolist(), numbers[4::2][there].tolist()
    logprob, rank = float(numbers[1]), int(entry[2])
    return Likelihood(logprob, rank, list(zip(tokens, logprobs, strict=True)))


def split(words: Sequence[int], lengths: Sequence[int]) -> list[Sequence[int]]:
    """Entries of these *lengths*, which lie behind each other in *words*.

    Raises:
        ValueError: there are more, or fewer.
    """
    if sum(lengths) != len(words):
        raise ValueError(f"{len(words)} words are not the {sum(lengths)} of {len(lengths)} entries")
    found, at = [], 0
    for length in lengths:
        found.append(words[at : at + length])
        at += length
    return found


def as_words(*parts: npt.NDArray[Any]) -> list[int]:
    """The words of arrays of 32 bits each."""
    return [word for part in parts for word in part.view(np.uint32).tolist()]
