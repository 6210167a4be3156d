"""The engine: many answers at a time, a token of each in every step, on one model's slots.

Its owner gives it answers, calls `step` again and again, and hears what each step brought. In a
step at most one chunk of one prompt is read, so that those that go on wait for no long prompt; then
all of them go on by a token. Answers that go on have the first slots, in any order, and the one
whose prompt is read has the next; a slot that becomes free is filled by moving the last.
"""

from collections import deque
from collections.abc import Collection
from typing import Final, NamedTuple, Protocol

import numpy as np

from penstock.errors import InvalidRequest
from penstock.language.finish import Finish
from penstock.language.sampling import next_token
from penstock.workers.language.answer import Answer
from penstock.workers.language.stage import Floats, Tokens

CHUNK: Final = 64
"""Columns of a prompt that are read in one step: about what a step of many answers takes."""


class Model(Protocol):
    """What computes; `Pipeline` is one."""

    slots: int
    capacity: int

    def step(self, tokens: Tokens, start: Tokens, wanted: Tokens, slot: int = 0) -> Floats:
        """See `Pipeline.step`."""

    def move(self, source: int, target: int, length: int) -> None:
        """See `Pipeline.move`."""


class NewToken(NamedTuple):
    """What a step brought to one answer: its *token*, and how it ended, if it did."""

    answer: Answer
    token: int
    finish: Finish | None


class Engine:
    """Answers on the slots of *model*. Belongs to one thread."""

    def __init__(self, model: Model, end_tokens: Collection[int], chunk: int = CHUNK) -> None:
        self._model = model
        self._end_tokens = frozenset(end_tokens)
        self._chunk = chunk
        self._waiting: deque[Answer] = deque()
        # By slot. All but the last have been read; the last may be on its way.
        self._slots: list[Answer] = []

    def __repr__(self) -> str:
        return f"Engine({len(self._slots)} of {self._model.slots} slots, {len(self._waiting)} wait)"

    @property
    def room(self) -> int:
        """How many more answers would have a slot at once."""
        return self._model.slots - len(self._slots) - len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._slots and not self._waiting

    def check(self, answer: Answer) -> None:
        """Whether `admit` would take *answer*.

        Raises:
            InvalidRequest: its prompt is empty, or there is no room for it and one token more.
        """
        if not answer.prompt:
            raise InvalidRequest("the prompt is empty: there is nothing to go on from")
        if answer.length >= self._model.capacity:
            raise InvalidRequest(
                f"the prompt has {answer.length} tokens: there is room for {self._model.capacity}, "
                "together with the answer; shorten it"
            )

    def admit(self, answer: Answer) -> None:
        """Take *answer*; it gets the next free slot. Raises what `check` does."""
        self.check(answer)
        answer.cached = 0
        self._waiting.append(answer)

    def evict(self, answer: Answer) -> None:
        """Let go of *answer*, if it is here still; its slot is free at once."""
        if answer in self._waiting:
            self._waiting.remove(answer)
        if answer not in self._slots:
            return
        hole = self._slots.index(answer)
        last = len(self._slots) - 1
        last_read = last if self._slots[last].is_read else last - 1
        # The last one that goes on fills the hole, and the one that is read moves up behind it.
        for source in (last_read, last):
            if source > hole:
                self._slots[hole] = self._slots[source]
                self._model.move(source, hole, self._slots[hole].cached)
                hole = source
        self._slots.pop()

    def step(self) -> list[NewToken]:
        """Go on by one step. Tokens are in the logs then; answers that have ended are let go."""
        self._take_one()
        if self._slots and not self._slots[-1].is_read:
            self._read_chunk(self._slots[-1], len(self._slots) - 1)
        going_on = [answer for answer in self._slots if answer.is_read]
        brought = [self._grow(*one) for one in zip(going_on, self._decode(going_on), strict=True)]
        for new in brought:
            if new.finish is not None:
                self.evict(new.answer)
        return brought

    def _take_one(self) -> None:
        """Give a slot to the answer that waits longest, once all others have been read."""
        free = len(self._slots) < self._model.slots
        if free and self._waiting and (not self._slots or self._slots[-1].is_read):
            self._slots.append(self._waiting.popleft())

    def _read_chunk(self, answer: Answer, slot: int) -> None:
        """Read on in prompt and log, up to the last token, which the step of all takes."""
        begin = answer.cached
        end = min(begin + self._chunk, answer.length - 1)
        tokens = np.array([[answer.token(at) for at in range(begin, end)]], np.int64)
        nothing = np.empty((0, 2), np.int64)
        self._model.step(tokens, np.array([begin], np.int64), nothing, slot)
        answer.cached = end

    def _decode(self, going_on: list[Answer]) -> Floats:
        """Logits behind each answer's last token; they have the first slots."""
        if not going_on:
            return np.empty((0, 0), np.float32)
        tokens = np.array([[one.token(one.length - 1)] for one in going_on], np.int64)
        start = np.array([one.length - 1 for one in going_on], np.int64)
        rows = np.arange(len(going_on), dtype=np.int64)
        return self._model.step(tokens, start, np.stack([rows, np.zeros_like(rows)], axis=1))

    def _grow(self, answer: Answer, logits: Floats) -> NewToken:
        token = next_token(logits, answer.options, answer.prompt, answer.log)
        answer.cached = answer.length
        answer.log.append(token)
        return NewToken(answer, token, answer.finish(self._end_tokens, self._model.capacity))
