"""The heartbeat pipe: over it a node hears the worker that it started.

Only the process that was started holds the other end, so nothing but its own signs of life count.
"""

import asyncio
import contextlib
import math
import os
from collections.abc import Iterator
from typing import Final

from penstock.workers.liveness.silence import Silence

VARIABLE: Final = "PENSTOCK_HEARTBEAT_FD"
"""Tells a worker the number of its end."""

BEAT: Final = b"."
LONELY_BEAT: Final = b","
"""Of a worker that the registry has not heard lately: its node cannot say that it serves."""

STARTED: Final = b"!"
"""The worker's start costs nothing any more: it serves, or waits for others."""

_LOOK_S: Final = 1.0
_STARTING_TIMES: Final = 10.0
"""A process that has not said anything yet may be silent so many times as long: it starts."""

_MOST_BYTES: Final = 4096


class HeartbeatPipe:
    """A node's end of one worker's pipe.

    Attributes:
        write_end: file descriptor, for the worker.
    """

    def __init__(self, read_end: int, write_end: int) -> None:
        self.write_end = write_end
        self._read_end = read_end
        self._sign: object | None = None
        self._beat_s = -math.inf
        self._started = asyncio.Event()

    def has_beaten(self, within_s: float, now_s: float) -> bool:
        """Whether the worker, and the registry that it speaks to, were heard lately."""
        return now_s - self._beat_s <= within_s

    async def until_started(self) -> None:
        """Wait until the worker says that its start is over."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._read_end, self._hear)
        try:
            await self._started.wait()
        finally:
            loop.remove_reader(self._read_end)

    async def until_silent(self, silence_s: float) -> None:
        """Wait until nothing has come over the pipe for so long."""
        look_s = min(_LOOK_S, silence_s / 4)
        silence = Silence(most_step_s=2 * look_s)
        loop = asyncio.get_running_loop()
        while True:
            limit_s = silence_s * (_STARTING_TIMES if self._sign is None else 1.0)
            if silence.seconds(self._sign, loop.time()) > limit_s:
                return
            await asyncio.sleep(look_s)
            self._hear()

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._read_end, _MOST_BYTES)
            self._sign = object()
            if BEAT in said:
                self._beat_s = asyncio.get_running_loop().time()
            if STARTED in said:
                self._started.set()


@contextlib.contextmanager
def heartbeat_pipe() -> Iterator[HeartbeatPipe]:
    """A pipe to one process; closed at the end."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    try:
        yield HeartbeatPipe(read_end, write_end)
    finally:
        os.close(read_end)
        os.close(write_end)
