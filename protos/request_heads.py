"""What one request's head has told, for the next request that has the same.

Clients send the same request over and over, with other numbers in its tensors. What was found out
from the head of one (`wire.take_apart`) is true of all of them, and need not be found out again.
"""

from typing import Final, TypeVar

from penstock.recent import Sloping

V = TypeVar("V")

MOST_HEADS: Final = 512

LONGEST_HEAD: Final = 2048
"""Bytes; longer ones carry something that is not the same each time, such as typed contents."""


class RequestHeads(Sloping[bytes, V]):
    """Head -> what it told; of too many, any one is forgotten."""

    def __init__(self) -> None:
        super().__init__(MOST_HEADS)

    def remember(self, head: bytes, facts: V) -> None:
        """Keep what *head* has told, unless it is too long to come again."""
        if len(head) <= LONGEST_HEAD:
            self.keep(head, facts)
