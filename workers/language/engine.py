"""The engine: many answers at a time, a token of each in every step, on one model's slots.

Its owner gives it answers, calls `step` again and again, and hears what each step brought. In a
step at most one chunk of one prompt is read, so that those that go on wait for no long prompt; then
all of them go on by a token. Answers that go on have the first slots, in any order, and the one
whose prompt is read has the next; a slot that becomes free is filled by moving the last.
"""

from collections import deque
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, Protocol

from penstock.errors import InvalidRequest
from penstock.language.finish import Finish
from penstock.language.log.entries import prompt_entries
from penstock.language.rebuild import Rebuild
from penstock.workers.language.answer import Answer
from penstock.workers.language.batch import Entry
from penstock.workers.language.changes import Move, Swap
from penstock.workers.language.prefixes import Prefixes
from penstock.workers.language.structured import NOT_YET, STUCK

CHUNK: Final = 64
"""Columns of a prompt that are read in one step: about what a step of many answers takes."""

ECHO_CHUNK: Final = 16
"""The same of a prompt whose tokens get entries: each is a row of the whole vocabulary."""

REPLAYED: Final = 4
"""Tokens of a log that are read one by one in one step: they take about as long as a chunk."""


class Caches(NamedTuple):
    """How answers come by what is cached of their tokens.

    Attributes:
        rebuild: how the cache of an answer that was begun elsewhere comes back.
        reuses: they begin with what slots have of others of the same caller.
    """

    rebuild: Rebuild = Rebuild.NONE
    reuses: bool = False


class Model(Protocol):
    """What computes: all stages here (`Pipeline`), or those of a group (`Head`)."""

    slots: int
    capacity: int

    def take(self, slot: int, answer: Answer) -> None:
        """*answer*, of which nothing has been read, has *slot* from now on."""

    def read(self, slot: int, answer: Answer, begin: int, end: int) -> None:
        """Read the tokens from *begin* to *end* of the answer in *slot*, and its prompt."""

    def echo(self, slot: int, answer: Answer, begin: int, end: int) -> list[int]:
        """Read as well; the words of the entries of the tokens behind those that are read."""

    def next_entries(self, answers: Sequence[Answer]) -> list[Entry]:
        """Read the last token of each of *answers*, which have the first slots; what follows.

        Of an entry without a token the first word is NOT_YET or STUCK.
        """

    def move(self, source: int, target: int, length: int) -> None:
        """What slot *source* has, with so many tokens read, is in slot *target* as well."""

    def swap(self, one: int, other: int, length: int) -> None:
        """Slots *one* and *other* have what the other had of its first *length* tokens."""


class NewToken(NamedTuple):
    """What a step brought to one answer.

    Attributes:
        entry: its token, and what is told of it.
        before: words of the prompt's entries, which are before it in the log.
        finish: how it ended, if it did.
        is_stuck: there is no token that could be next: it ends in an error.
    """

    answer: Answer
    entry: Entry
    finish: Finish | None
    is_stuck: bool = False
    before: Entry = ()

    @property
    def token(self) -> int:
        """Its token."""
        return self.entry[0]


class Engine:
    """Answers on the slots of *model*. Belongs to one thread."""

    def __init__(
        self,
        model: Model,
        end_tokens: Collection[int],
        chunk: int = CHUNK,
        prefixes: Prefixes | None = None,
        rebuild: Rebuild = Rebuild.PREFILL,
    ) -> None:
        """Make one without answers.

        Args:
            prefixes: of all slots, where answers may begin with what is there of others.
            rebuild: how an answer that was begun elsewhere gets its cache.
        """
        self._model = model
        self._prefixes = prefixes
        self._end_tokens = frozenset(end_tokens)
        self._chunk = chunk
        self._replays = rebuild is Rebuild.REPLAY
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
        answer.cached, answer.echoed = 0, []
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
                self._fill(hole, source, answer)
                hole = source
        self._slots.pop()
        if self._prefixes is not None:
            self._prefixes.leave(answer, last)

    def _fill(self, hole: int, source: int, gone: Answer) -> None:
        """What slot *source* has moves to slot *hole*; there is what is kept of the one *gone*."""
        self._slots[hole] = self._slots[source]
        if self._prefixes is None or gone.caller is None:
            self._model.move(source, hole, self._slots[hole].cached)
        else:
            self._model.swap(source, hole, max(self._slots[hole].cached, gone.cached))

    def step(self) -> list[NewToken]:
        """Go on by one step. Tokens are in the logs then; answers that have ended are let go."""
        self._take_one()
        if self._slots and not self._slots[-1].is_read:
            self._read_chunk(self._slots[-1], len(self._slots) - 1)
        going_on = [answer for answer in self._slots if answer.is_read]
        entries = self._model.next_entries(going_on) if going_on else []
        brought = [
            self._grow(answer, entry)
            for answer, entry in zip(going_on, entries, strict=True)
            if entry[0] != NOT_YET
        ]
        for new in brought:
            if new.finish is not None or new.is_stuck:
                self.evict(new.answer)
        return brought

    def _take_one(self) -> None:
        """Give a slot to the answer that waits longest, once all others have been read.

        One that finds nearly all of its prompt there is read already: the next one has its turn;
        not so where it is about a sound, since to hear that takes as long as many steps.
        """
        while self._has_place and self._waiting and (not self._slots or self._slots[-1].is_read):
            answer = self._waiting.popleft()
            if self._prefixes is not None:
                changes, answer.cached = self._prefixes.take(answer, self._slots)
                answer.reused = answer.cached
                self._change(changes)
            self._model.take(len(self._slots), answer)
            self._slots.append(answer)
            if answer.audio is not None:
                break

    @property
    def _has_place(self) -> bool:
        return len(self._slots) < self._model.slots

    def _change(self, changes: Sequence[Move | Swap]) -> None:
        for change in changes:
            if isinstance(change, Move):
                self._model.move(*change)
            else:
                self._model.swap(*change)

    def _read_chunk(self, answer: Answer, slot: int) -> None:
        """Read on in prompt and log, up to the last token, which the step of all takes."""
        begin = answer.cached
        if answer.echoes:
            end = min(begin + ECHO_CHUNK, answer.length - 1)
            answer.echoed += self._model.echo(slot, answer, begin, end)
        elif self._replays and answer.log:
            end = self._replay(answer, slot)
        else:
            end = min(begin + self._chunk, answer.length - 1)
            self._model.read(slot, answer, begin, end)
        answer.cached = end

    def _replay(self, answer: Answer, slot: int) -> int:
        """Read on as it was read first: the prompt in the same chunks, then token by token."""
        begin, first = answer.cached, len(answer.prompt) - 1
        if begin < first:
            echoed = prompt_entries(answer.options, len(answer.prompt))
            end = min(begin + (ECHO_CHUNK if echoed else self._chunk), first)
            self._model.read(slot, answer, begin, end)
            return end
        end = min(begin + REPLAYED, answer.length - 1)
        for position in range(begin, end):
            self._model.read(slot, answer, position, position + 1)
        return end

    def _grow(self, answer: Answer, entry: Entry) -> NewToken:
        if entry[0] == STUCK:
            return NewToken(answer, entry, None, is_stuck=True)
        answer.cached = answer.length
        answer.log.append(entry[0])
        before, answer.echoed = answer.echoed, []
        finish = answer.finish(self._end_tokens, self._model.capacity)
        return NewToken(answer, entry, finish, before=before)
