"""Start limit: so many workers start at a time, and the others wait; restarts go first.

A start takes a core for a while. Where hundreds come at once, each would take as long as all
together, and the processes that serve would have no more than one share among them.
"""

import asyncio
from collections import deque


class StartPermit:
    """One place among those that may start."""

    def __init__(self, limit: "StartLimit") -> None:
        self._limit: StartLimit | None = limit

    def release(self) -> None:
        """Let the next one start; once is enough."""
        limit, self._limit = self._limit, None
        if limit is not None:
            limit.free()


class StartLimit:
    """At most *most* permits at a time."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._restarts: deque[asyncio.Future[None]] = deque()
        self._firsts: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        waiting = len(self._restarts) + len(self._firsts)
        return f"StartLimit({self._free} free, {waiting} waiting)"

    async def acquire(self, *, restart: bool) -> StartPermit:
        """Wait for a permit; a *restart* goes before first starts."""
        if self._free:
            self._free -= 1
            return StartPermit(self)
        queue = self._restarts if restart else self._firsts
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self.free()
            raise
        return StartPermit(self)

    def free(self) -> None:
        """A permit is no longer needed."""
        for queue in (self._restarts, self._firsts):
            while queue:
                called = queue.popleft()
                if not called.done():
                    called.set_result(None)
                    return
        self._free += 1
