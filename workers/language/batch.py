"""A batch: rows of consecutive slots on their way through the stages of a model."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from penstock.language.sampling import next_token
from penstock.workers.language.answer import Answer
from penstock.workers.language.stage import Floats, Stage, Tokens
from penstock.workers.language.structured import Structured


class Batch(NamedTuple):
    """Rows of consecutive slots.

    Attributes:
        columns: int64[batch, length] tokens, or float32[batch, length, width] hidden states.
        start: int64[batch], the position of each row's first column.
        slot: of the first row.
        grows: whether each answer gets a token, behind its row's last column.
    """

    columns: Tokens | Floats
    start: Tokens
    slot: int
    grows: bool

    @property
    def wanted(self) -> Tokens:
        """int64[rows, 2], as `Stage.step` has it: what the last stage computes logits of."""
        rows, length = self.columns.shape[:2] if self.grows else (0, 1)
        return np.stack([np.arange(rows), np.full(rows, length - 1)], axis=1)

    def through(self, stage: Stage) -> Floats:
        """What *stage* makes of it: hidden states, or logits of what is wanted."""
        return stage.step(self.columns, self.start, self.wanted, self.slot)


def part_of(answer: Answer, slot: int, begin: int, end: int) -> Batch:
    """The tokens from *begin* to *end* of an answer and its prompt, to be read."""
    tokens = np.array([[answer.token(at) for at in range(begin, end)]], np.int64)
    return Batch(tokens, np.array([begin], np.int64), slot, grows=False)


def ends_of(answers: Sequence[Answer]) -> Batch:
    """The last token of each of *answers*, which have the first slots; behind it they grow."""
    tokens = np.array([[one.token(one.length - 1)] for one in answers], np.int64)
    start = np.array([one.length - 1 for one in answers], np.int64)
    return Batch(tokens, start, 0, grows=True)


def sampled(logits: Floats, answers: Sequence[Answer], structured: Structured) -> list[int]:
    """The next token of each answer, by the row of *logits* that is its own.

    NOT_YET where none has been found in time, STUCK where there is none.
    """
    allowed = structured.allowed(answers)
    tokens = [
        may if isinstance(may, int) else next_token(row, one.options, one.prompt, one.log, may)
        for row, one, may in zip(logits, answers, allowed, strict=True)
    ]
    structured.took(answers, tokens)
    return tokens
