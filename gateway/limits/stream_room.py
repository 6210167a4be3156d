"""How many requests of one stream may be unanswered, by number and by bytes.

How large an answer will be is not known before it is there. So a stream begins with few requests,
and once it has an answer, each request that runs counts as much as the largest so far. Pure but for
waiting.
"""

import asyncio
from typing import Final

from penstock.scheduler.replies.chunks import MOST_AHEAD, MOST_BYTES_AHEAD

FIRST: Final = 8
"""Requests that may run before the first answer is known."""


class StreamRoom:
    """The room of one stream.

    Attributes:
        unsent_bytes: of answers that are there, and whose turn has not come or whose client does
            not read.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._open = self._done = self._aside = 0
        self._largest: int | None = None
        self._ahead = 0
        self._left = asyncio.Event()
        self.unsent_bytes = 0

    def __repr__(self) -> str:
        return f"StreamRoom({self._open} open, {self.unsent_bytes} bytes unsent)"

    async def enter(self) -> None:
        """Wait until one more request may be read; it is open from then on."""
        while not self._fits():
            self._left.clear()
            await self._left.wait()
        self._open += 1

    def leave(self) -> None:
        """One request is done with."""
        self._open -= 1
        self._left.set()

    def answered(self, size: int) -> None:
        """An answer of *size* bytes is there, to be sent."""
        self._done += 1
        self.unsent_bytes += size
        self._largest = max(size, self._largest or 0)
        self._left.set()

    def sent(self, size: int) -> None:
        """It has been sent, and its request is done with."""
        self._done -= 1
        self.unsent_bytes -= size
        self.leave()

    def aside(self, begins: int = 1) -> None:
        """One more request is answered in parts; with -1 one fewer."""
        self._aside += begins
        self._left.set()

    def part(self, size: int) -> None:
        """A part of *size* bytes was sent: as many of its kind may be on their way as ever are."""
        self._ahead = max(self._ahead, min(MOST_BYTES_AHEAD, size * MOST_AHEAD))

    def _fits(self) -> bool:
        if self._open >= self._most:
            return False
        if self._open == 0:
            return True
        if self._largest is None and self._aside == 0:
            return self._open < FIRST
        running = self._open - self._done - self._aside + 1
        each = max(self._largest or 0, self._ahead)
        expected = running * each + self._aside * self._ahead
        return self.unsent_bytes + expected <= self._most_bytes
