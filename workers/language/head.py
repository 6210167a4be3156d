"""The head of a group: the first stage here, the others wherever their workers are.

It is the model of the engine. What it has computed it sends to the next stage at once, and waits
for the tokens alone; the reading of a prompt goes on here while later stages do their part.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from penstock.errors import PenstockError
from penstock.language.log.entries import split, words_of_entry
from penstock.workers.language.answer import Answer
from penstock.workers.language.batch import Batch, Entry, echo_of, ends_of, part_of
from penstock.workers.language.changes import Change, Move, Swap, Take
from penstock.workers.language.message import Message, Said
from penstock.workers.language.stage import Stage

MOST_AHEAD: Final = 2
"""Messages that later stages may have before them; each more is memory, and wins nothing."""


class GroupBroken(PenstockError):
    """A later stage is gone, or silent: what the group computed must go on from its logs."""


class Hops(Protocol):
    """The way to the later stages, and back."""

    epoch: bytes

    def send(self, message: Message) -> None:
        """Give *message* to the next stage."""

    def receive(self) -> Said:
        """Wait for what the last stage says next.

        Raises:
            GroupBroken: nothing will come any more.
        """


class Head:
    """A group as its first stage has it; it has *slots* slots. Belongs to one thread."""

    def __init__(self, stage: Stage, slots: int, hops: Hops) -> None:
        self.slots = slots
        self.capacity = stage.capacity
        self._stage = stage
        self._hops = hops
        self._changes: list[Change] = []
        self._sent = 0
        self._answered = 0

    def take(self, slot: int, answer: Answer) -> None:
        """See `Model`."""
        self._changes.append(Take(slot, answer))

    def move(self, source: int, target: int, length: int) -> None:
        """See `Model`."""
        self._stage.move(source, target, length)
        self._changes.append(Move(source, target, length))

    def swap(self, one: int, other: int, length: int) -> None:
        """See `Model`."""
        self._stage.swap(one, other, length)
        self._changes.append(Swap(one, other, length))

    def read(self, slot: int, answer: Answer, begin: int, end: int) -> None:
        """See `Model`."""
        self._send(part_of(answer, slot, begin, end))
        while self._sent - self._answered > MOST_AHEAD:
            self._receive()

    def echo(self, slot: int, answer: Answer, begin: int, end: int) -> list[int]:
        """See `Model`."""
        words = self._ask(echo_of(answer, slot, begin, end))
        if len(words) != (end - begin) * words_of_entry(answer.options):
            raise GroupBroken(f"for {end - begin} tokens of a prompt came {len(words)} words")
        return words

    def next_entries(self, answers: Sequence[Answer]) -> list[Entry]:
        """See `Model`."""
        words = self._ask(ends_of(answers))
        try:
            return split(words, [words_of_entry(answer.options) for answer in answers])
        except ValueError as error:
            raise GroupBroken(f"for {len(answers)} answers came: {error}") from error

    def _ask(self, batch: Batch) -> list[int]:
        """What the last stage says of *batch*; all messages before it are answered then."""
        self._send(batch)
        words: list[int] = []
        while self._answered < self._sent:
            words = self._receive()
        return words

    def _send(self, batch: Batch) -> None:
        hidden = batch._replace(columns=batch.through(self._stage))
        self._hops.send(Message(self._hops.epoch, self._sent, tuple(self._changes), hidden))
        self._sent += 1
        self._changes.clear()

    def _receive(self) -> list[int]:
        said = self._hops.receive()
        while said.epoch != self._hops.epoch:
            said = self._hops.receive()
        if said.step != self._answered:
            raise GroupBroken(f"message {said.step} was answered in the place of {self._answered}")
        self._answered += 1
        return said.words
