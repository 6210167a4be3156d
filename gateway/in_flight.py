"""What a gateway must see to its end before it goes."""

import asyncio
import contextlib
import fcntl
import os
import stat
import sys
from pathlib import Path
from typing import Any, Final

from penstock.clock import Deadline

_SIOCOUTQNSD: Final = 0x894B
"""Linux, linux/sockios.h: bytes that were written to a socket and have not left yet."""

_LOOK_EVERY_S: Final = 0.01
_CANCEL_S: Final = 1.0


class InFlight:
    """The RPCs that are being answered."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self) -> None:
        """Count the RPC whose handler calls this: until its status has been written, or it fails.

        gRPC runs each RPC in a task of its own, which writes the status after the handler's end.
        """
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def end(self, within_s: float) -> int:
        """Wait for those that have begun until now, and cancel those that take too long.

        Returns:
            how many were cancelled.
        """
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(set(self._tasks), timeout=within_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_CANCEL_S)
        return len(late)


async def all_sent(deadline: Deadline) -> None:
    """Wait until what was written to this process's sockets is on its way (Linux)."""
    if sys.platform == "linux":
        while _unsent() and not deadline.passed():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(_LOOK_EVERY_S)


def _unsent() -> bool:
    """Whether the kernel still holds bytes that a socket's other end has no room for."""
    return any(_held_by(int(path.name)) for path in Path("/proc/self/fd").iterdir())


def _held_by(descriptor: int) -> int:
    # It may have been closed meanwhile, or listen.
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            told = fcntl.ioctl(descriptor, _SIOCOUTQNSD, bytes(4))
            return int.from_bytes(told, sys.byteorder)
    return 0
