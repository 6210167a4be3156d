"""Farewell: what a server closes stays open for a moment, so that its last word arrives.

Whoever closes a connection in which something comes at the same moment resets it, and the other end
may not read any more what was said before: over HTTP/2 which calls were not taken, which clients
make again by themselves. So this process keeps each connection beside its server until the client
has closed its own end, or for some time.
"""

import asyncio
import contextlib
import os
import select
import socket
import stat
from pathlib import Path
from typing import Any, Final, Self

_MOST: Final = 4096
"""Connections that are kept; what there are more of is closed at once."""

_LOOK_EVERY_S: Final = 0.02
_OPEN: Final = Path("/proc/self/fd")


class Farewell:
    """The connections that were accepted from one listening socket of this process."""

    def __init__(self, name: Any, longest_s: float) -> None:
        """Keep nothing yet.

        Args:
            name: of the listening socket, as `socket.getsockname` has it.
            longest_s: so long clients are waited for that have been told, and stay.
        """
        self._name = name
        self._longest_s = longest_s
        self._kept: dict[int, socket.socket] = {}

    def __repr__(self) -> str:
        return f"Farewell({self._name}, {len(self._kept)} kept)"

    async def __aenter__(self) -> Self:
        """Keep what is open now; the server may close it from here on."""
        await asyncio.to_thread(self._keep)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait until all clients have left, and let go of what they have left open."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._longest_s
        try:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                self._let_go()
                if not self._kept or loop.time() > until_s:
                    return
                # What was accepted a moment before the server ceased to do so.
                await asyncio.to_thread(self._keep)
        finally:
            for one in self._kept.values():
                one.close()
            self._kept.clear()

    def _keep(self) -> None:
        # Where there is no such list, servers close as they always have.
        with contextlib.suppress(OSError):
            for entry in _OPEN.iterdir():
                if len(self._kept) >= _MOST:
                    return
                # It may be closed while it is looked at.
                with contextlib.suppress(OSError):
                    self._keep_one(int(entry.name))

    def _keep_one(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if not stat.S_ISSOCK(found.st_mode) or found.st_ino in self._kept:
            return
        one = socket.socket(fileno=os.dup(descriptor))
        if self._is_ours(one):
            self._kept[os.fstat(one.fileno()).st_ino] = one
        else:
            one.close()

    def _is_ours(self, one: socket.socket) -> bool:
        try:
            one.getpeername()
        except OSError:
            return False  # it listens, or has ended
        own = one.getsockname()
        if isinstance(own, tuple) and isinstance(self._name, tuple):
            return bool(own[1] == self._name[1])
        return bool(own == self._name)

    def _let_go(self) -> None:
        """Close those whose clients have closed their end."""
        poll = select.poll()
        places = {one.fileno(): place for place, one in self._kept.items()}
        for descriptor in places:
            poll.register(descriptor, getattr(select, "POLLRDHUP", 0))
        for descriptor, _ in poll.poll(0):
            self._kept.pop(places[descriptor]).close()
