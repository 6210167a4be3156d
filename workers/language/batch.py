"""A batch: rows of consecutive slots on their way through the stages of a model."""

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np

from penstock.language.log.entries import words_of_entry
from penstock.language.log.likelihoods import entry_of
from penstock.language.sampling import next_token
from penstock.language.speech.rules import Rules
from penstock.workers.language.answer import Answer
from penstock.workers.language.stage import Floats, Stage, Tokens
from penstock.workers.language.structured import Structured

Entry = Sequence[int]
"""A token, and what is told of it: words, see `penstock.language.log.entries`."""


class Batch(NamedTuple):
    """Rows of consecutive slots.

    Attributes:
        columns: int64[batch, length] tokens, or float32[batch, length, width] hidden states.
        start: int64[batch], the position of each row's first column.
        slot: of the first row.
        grows: whether each answer gets a token, behind its row's last column.
        echoes: whether the prompt's token behind each column of the only row gets an entry.
    """

    columns: Tokens | Floats
    start: Tokens
    slot: int
    grows: bool
    echoes: bool = False

    @property
    def wanted(self) -> Tokens:
        """int64[rows, 2], as `Stage.step` has it: what the last stage computes logits of."""
        if self.echoes:
            columns = np.arange(self.columns.shape[1])
            return np.stack([np.zeros_like(columns), columns], axis=1)
        rows, length = self.columns.shape[:2] if self.grows else (0, 1)
        return np.stack([np.arange(rows), np.full(rows, length - 1)], axis=1)

    def through(self, stage: Stage) -> Floats:
        """What *stage* makes of it: hidden states, or logits of what is wanted."""
        return stage.step(self.columns, self.start, self.wanted, self.slot)


def part_of(answer: Answer, slot: int, begin: int, end: int) -> Batch:
    """The tokens from *begin* to *end* of an answer and its prompt, to be read."""
    tokens = np.array([[answer.token(at) for at in range(begin, end)]], np.int64)
    return Batch(tokens, np.array([begin], np.int64), slot, grows=False)


def echo_of(answer: Answer, slot: int, begin: int, end: int) -> Batch:
    """The same of a prompt, whose tokens from *begin* + 1 to *end* + 1 get entries."""
    return part_of(answer, slot, begin, end)._replace(echoes=True)


def echoed(logits: Floats, answer: Answer, begin: int) -> list[int]:
    """The words of the entries of a prompt's tokens behind *begin*, of each row of *logits* one."""
    tokens = answer.prompt[begin + 1 : begin + 1 + len(logits)]
    words: list[int] = []
    for token, row in zip(tokens, logits, strict=True):
        words += entry_of(token, row, answer.options)
    return words


def ends_of(answers: Sequence[Answer]) -> Batch:
    """The last token of each of *answers*, which have the first slots; behind it they grow."""
    tokens = np.array([[one.token(one.length - 1)] for one in answers], np.int64)
    start = np.array([one.length - 1 for one in answers], np.int64)
    return Batch(tokens, start, 0, grows=True)


def sampled(
    logits: Floats,
    answers: Sequence[Answer],
    structured: Structured,
    rules: Rules | None = None,
) -> list[Entry]:
    """The next entry of each answer's log, by the row of *logits* that is its own.

    Args:
        rules: of a model of speech.

    NOT_YET in the place of its token where none has been found in time, STUCK where there is none.
    """
    allowed = structured.allowed(answers)
    entries = [
        _entry(row, one, may, rules) for row, one, may in zip(logits, answers, allowed, strict=True)
    ]
    structured.took(answers, [entry[0] for entry in entries])
    return entries


def _entry(row: Floats, answer: Answer, may: Tokens | int | None, rules: Rules | None) -> Entry:
    options, scores = answer.options, row
    if isinstance(may, int):
        return [may, *repeat(0, words_of_entry(options) - 1)]
    if rules is not None:
        scores = rules.masked(row, answer.prompt, answer.log, timestamps=options.timestamps)
    return entry_of(next_token(scores, options, answer.prompt, answer.log, may), row, options)
