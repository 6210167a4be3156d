"""A text -> its words, and their numbers in the vocabulary beside this file."""

import re

import numpy as np

from penstock.errors import InvalidRequest

WORD = re.compile(r"[a-z0-9]+(?:['\u2019][a-z]+)?|[!?.,;:-]")
UNKNOWN = 1


def split(text, most):
    """At most so many words, in lower case; marks are words."""
    return WORD.findall(text.lower())[:most]


class Model:
    """Penstock's own contract: arrays in, arrays out."""

    def load(self, context):
        """Read the vocabulary."""
        self.most = int(context.parameters["words"])
        words = (context.folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
        self.numbers = {word: number for number, word in enumerate(words)}

    def execute(self, inputs, parameters):  # noqa: ARG002
        """Rows of equal length: what is not there is word 0."""
        rows = [split(_decoded(text), self.most) for text in inputs["TEXT"][:, 0]]
        ids = np.zeros((len(rows), self.most), np.int64)
        words = np.full((len(rows), self.most), b"", dtype=object)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = [self.numbers.get(word, UNKNOWN) for word in row]
            words[place, : len(row)] = [word.encode() for word in row]
        return {"ids": ids, "words": words}


def _decoded(text):
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("a text must be UTF-8") from None
    if not split(decoded, 1):
        raise InvalidRequest("a text must have a word")
    return decoded
