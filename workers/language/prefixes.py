"""Prefixes: what slots still have of other answers, and which of it a new one begins with.

The keys and values of an answer stay in a slot until that is needed. An answer of the same caller
that begins with the same tokens has them from there, or from a slot that is in use, and reads only
the rest. Pure: it says what to copy; whoever computes does it. Why: docs/adr/0049.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.workers.language.answer import Answer
from penstock.workers.language.changes import Move, Swap

_Tokens = npt.NDArray[np.int64]


class _Kept(NamedTuple):
    """What a slot has: the *tokens* of a *caller*; *used*: the larger, the later."""

    caller: str
    tokens: _Tokens
    used: int


class _Source(NamedTuple):
    slot: int
    shared: int


_NOWHERE = _Source(-1, 0)


class Prefixes:
    """Of *slots* slots, those that are not in use. Answers without a caller neither leave nor find.

    Slots in use are the first ones, as the engine has them.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._kept: dict[int, _Kept] = {}
        self._asked: dict[int, _Tokens] = {}
        self._used = 0

    def __repr__(self) -> str:
        return f"Prefixes({ {slot: len(kept.tokens) for slot, kept in self._kept.items()} })"

    def take(self, answer: Answer, running: Sequence[Answer]) -> tuple[list[Move | Swap], int]:
        """*answer* gets the slot behind those of *running*, which may have its beginning.

        Returns:
            What to copy first, in this order; and how many of its tokens are in its slot then:
            never its last one, whose logits are yet to be computed.
        """
        slot, asked = len(running), _tokens_of(answer, answer.length)
        source = self._best(answer, asked[:-1], running)
        self._asked[id(answer)] = asked
        kept = self._kept.get(source.slot)
        if kept is not None and source.shared == len(kept.tokens):
            # All of it goes on in the new answer.
            return self._take_over(slot, source)
        if kept is not None:
            self._kept[source.slot] = kept._replace(used=self._now())
        copies = self._clear(slot, source.slot)
        if source.shared and source.slot != slot:
            copies.append(Move(source.slot, slot, source.shared))
        return copies, source.shared

    def leave(self, answer: Answer, slot: int) -> None:
        """*answer* is gone, and *slot*, which is in use no more, has what was read of it."""
        self._asked.pop(id(answer), None)
        if answer.caller is not None and answer.cached:
            tokens = _tokens_of(answer, answer.cached)
            self._kept[slot] = _Kept(answer.caller, tokens, self._now())

    def _take_over(self, slot: int, source: _Source) -> tuple[list[Move | Swap], int]:
        """*slot* has what *source* has, which is free then, or has what was in *slot*."""
        del self._kept[source.slot]
        if source.slot == slot:
            return [], source.shared
        own = self._kept.pop(slot, None)
        if own is None:
            return [Move(source.slot, slot, source.shared)], source.shared
        self._kept[source.slot] = own
        return [Swap(source.slot, slot, max(source.shared, len(own.tokens)))], source.shared

    def _clear(self, slot: int, source: int) -> list[Move | Swap]:
        """Let go of what *slot* has; it goes elsewhere, unless it is what was used longest ago.

        Args:
            source: a slot that must stay as it is.
        """
        own = self._kept.pop(slot, None)
        place = None if own is None else self._place(slot + 1, source)
        if own is None or place is None:
            return []
        if place in self._kept and self._kept[place].used > own.used:
            return []
        self._kept[place] = own
        return [Move(slot, place, len(own.tokens))]

    def _place(self, begin: int, source: int) -> int | None:
        """From *begin* on a slot that has nothing, or else what was used longest ago."""
        places = [slot for slot in range(begin, self._slots) if slot != source]
        return min(
            places,
            key=lambda slot: self._kept[slot].used if slot in self._kept else 0,
            default=None,
        )

    def _best(self, answer: Answer, asked: _Tokens, running: Sequence[Answer]) -> _Source:
        """The slot that has most of the tokens of *asked* in their order, from the first on."""
        best = _NOWHERE
        # What is told of a prompt comes from reading it.
        if answer.caller is None or answer.echoes:
            return best
        for slot, one in enumerate(running):
            if one.caller == answer.caller and id(one) in self._asked:
                there = self._asked[id(one)][: one.cached]
                best = max(best, _Source(slot, _shared(asked, there)), key=lambda one: one.shared)
        for slot, kept in self._kept.items():
            if kept.caller == answer.caller:
                found = _Source(slot, _shared(asked, kept.tokens))
                best = max(best, found, key=lambda one: one.shared)
        return best

    def _now(self) -> int:
        self._used += 1
        return self._used


def _tokens_of(answer: Answer, count: int) -> _Tokens:
    return np.array([*answer.prompt, *answer.log][:count], np.int64)


def _shared(one: _Tokens, other: _Tokens) -> int:
    """How many tokens both begin with."""
    most = min(len(one), len(other))
    different = np.flatnonzero(one[:most] != other[:most])
    return int(different[0]) if len(different) else most
