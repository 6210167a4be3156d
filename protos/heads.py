"""Heads: what one request's head has told, for the next request that has the same.

Clients send the same request over and over, with other numbers in its tensors. What was found out
from the head of one (`wire.take_apart`) is true of all of them, and need not be found out again.
"""

from typing import Final, TypeVar

V = TypeVar("V")

MOST_HEADS: Final = 512

LONGEST_HEAD: Final = 2048
"""Bytes; longer ones carry something that is not the same each time, such as typed contents."""


class Heads(dict[bytes, V]):
    """Head -> what it told; of too many, those that came first are forgotten."""

    def remember(self, head: bytes, told: V) -> None:
        """Keep what *head* has told, unless it is too long to come again."""
        if len(head) > LONGEST_HEAD:
            return
        if len(self) >= MOST_HEADS and head not in self:
            del self[next(iter(self))]
        self[head] = told
