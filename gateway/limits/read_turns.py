"""Read turns: how many calls' messages may begin to arrive at the same time.

How large a message is, is known once it is there, and until the memory is looked at again many may
come: a hundred calls at once would fill it many times over. So there are as many turns as there is
room for the largest message that is allowed; the others wait their turn, with their messages at
their clients. Most messages are there at once. A turn of one that is not is passed on after a
while, if there is memory: else whoever sends nothing would hold up everybody.
"""

import asyncio
from typing import Any, Final

from penstock.clock import Clock, monotonic

_LEAST: Final = 8

Task = asyncio.Task[Any]


class ReadTurns:
    """Of one gateway process."""

    def __init__(self, room: int, largest: int, clock: Clock = monotonic) -> None:
        """*room* for messages and the size of the *largest* that is allowed, bytes."""
        self._most = max(_LEAST, room // largest)
        self._clock = clock
        self._taken: dict[Task, float] = {}
        self._waiting: dict[asyncio.Future[None], Task] = {}

    def __repr__(self) -> str:
        return f"ReadTurns({len(self._taken)} of {self._most}, {len(self._waiting)} waiting)"

    def try_take(self, task: Task) -> bool:
        """Take a turn for *task*, if there is one and nobody waits for it."""
        if self._waiting or len(self._taken) >= self._most:
            return False
        self._taken[task] = self._clock()
        return True

    async def take(self, task: Task) -> None:
        """Wait for a turn for *task*, after those who came before."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = task
        try:
            await turn
        except BaseException:
            if self._waiting.pop(turn, None) is None:
                # It came, and is not wanted any more.
                self.give(task)
            raise

    def give(self, task: Task) -> None:
        """*task* has its message, or waits no more; who comes next may begin."""
        if self._taken.pop(task, None) is not None and self._waiting:
            self._hand_out()

    def pass_on(self, seconds: float) -> None:
        """Give away the turns of messages that have taken longer than that."""
        before_s = self._clock() - seconds
        # Those that were taken first are the first.
        for task, since_s in list(self._taken.items()):
            if since_s > before_s:
                break
            del self._taken[task]
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and len(self._taken) < self._most:
            turn = next(iter(self._waiting))
            task = self._waiting.pop(turn)
            if not turn.done():
                self._taken[task] = self._clock()
                turn.set_result(None)
