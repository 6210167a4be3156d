"""A later stage of a group: what it does with the messages that come from the stage before it."""

from typing import Final

from penstock.errors import PenstockError
from penstock.workers.language.answer import Answer
from penstock.workers.language.batch import Batch, echoed, sampled
from penstock.workers.language.changes import Move, Swap
from penstock.workers.language.message import Message
from penstock.workers.language.stage import Floats, Stage
from penstock.workers.language.structured import Structured, is_token

NOBODYS: Final = b""
"""The epoch of a stage that is in no group."""


class OutOfStep(PenstockError):
    """A message of the group has been lost, or says what cannot be: the group must end."""


class LaterStage:
    """A stage that is not the first, with what it knows of each slot. Belongs to one thread."""

    def __init__(self, stage: Stage, slots: int, structured: Structured | None) -> None:
        """*structured*: of the last stage."""
        self._stage = stage
        self._slots = slots
        self._capacity = stage.capacity
        self._structured = structured
        self._epoch = NOBODYS
        self._step = 0
        self._answers: dict[int, Answer] = {}

    def begin(self, epoch: bytes) -> None:
        """It is in the group of this *epoch* from now on; what comes from any other is dropped."""
        self._epoch = epoch
        self._step = 0
        self._answers = {}

    def run(self, message: Message) -> Message | list[int] | None:
        """What goes on to the next stage, or if there is none the words of all answers' entries.

        None for a message of another group, which changes nothing here.

        Raises:
            OutOfStep: it is not the next of its group, or names slots that there are not.
        """
        if message.epoch != self._epoch or self._epoch == NOBODYS:
            return None
        if message.step != self._step:
            raise OutOfStep(f"message {message.step} came in the place of {self._step}")
        self._check(message)
        self._step += 1
        self._change(message)
        made = message.batch.through(self._stage)
        if self._structured is None:
            return message._replace(batch=message.batch._replace(columns=made))
        if message.batch.echoes:
            return self._echoed(message.batch, made)
        if not message.batch.grows:
            return []
        grown = [self._answers[slot] for slot in range(len(made))]
        entries = sampled(made, grown, self._structured)
        for answer, entry in zip(grown, entries, strict=True):
            if is_token(entry[0]):
                answer.log.append(entry[0])
        return [word for entry in entries for word in entry]

    def _echoed(self, batch: Batch, logits: Floats) -> list[int]:
        answer, begin = self._answers[batch.slot], int(batch.start[0])
        if begin + len(logits) >= len(answer.prompt):
            raise OutOfStep("a message asks for more of a prompt than there is")
        return echoed(logits, answer, begin)

    def _change(self, message: Message) -> None:
        for change in message.changes:
            if isinstance(change, Move):
                self._stage.move(*change)
                self._answers[change.target] = self._answers[change.source]
            elif isinstance(change, Swap):
                self._stage.swap(*change)
                one, other, answers = change.one, change.other, self._answers
                answers[one], answers[other] = answers[other], answers[one]
            else:
                self._answers[change.slot] = change.answer
                if self._structured is not None:
                    self._structured.take(change.answer)

    def _check(self, message: Message) -> None:
        """Refuse what would be read or written outside of the cache."""
        batch, known = message.batch, set(self._answers)
        rows, length, width = batch.columns.shape
        fits = batch.slot + rows <= self._slots and width == self._stage.width
        fits = fits and batch.start.min() >= 0 and batch.start.max() + length <= self._capacity
        for change in message.changes:
            if isinstance(change, Move):
                fits = fits and change.source in known and change.length <= self._capacity
                known.add(change.target)
            elif isinstance(change, Swap):
                fits = fits and {change.one, change.other} <= known
                fits = fits and change.length <= self._capacity
            else:
                known.add(change.slot)
        fits = fits and known <= set(range(self._slots))
        if not fits or not set(range(batch.slot, batch.slot + rows)) <= known:
            raise OutOfStep("a message is about slots or positions that there are not")
