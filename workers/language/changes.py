"""Changes of slots: what becomes of caches before a batch is computed."""

from typing import NamedTuple

from penstock.workers.language.answer import Answer


class Move(NamedTuple):
    """The first *length* tokens of slot *source* are in slot *target* as well from now on."""

    source: int
    target: int
    length: int


class Swap(NamedTuple):
    """Slots *one* and *other* have what the other had, as far as their first *length* tokens."""

    one: int
    other: int
    length: int


class Take(NamedTuple):
    """*answer* has *slot* from now on."""

    slot: int
    answer: Answer


Change = Move | Swap | Take
