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
RESTING_BEAT: Final = b"~"
"""Of a worker that has nothing to do: its next one comes after `RESTING_BEAT_S`."""

LONELY_BEAT: Final = b","
"""Of a worker that the registry has not heard lately: its node cannot say that it serves."""

STARTED: Final = b"!"
"""The worker's start costs nothing any more: it serves, or waits for others."""

BEAT_S: Final = 1.0
"""How often a worker gives a sign of life."""

RESTING_BEAT_S: Final = 30.0
"""How often one that rests does."""

_LIVES_S: Final = {BEAT: 2 * BEAT_S, RESTING_BEAT: RESTING_BEAT_S + 2 * BEAT_S}
"""How long a worker is taken to live after a beat."""

_LOOK_S: Final = 10.0
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
        self._rests = False
        self._lives_until_s = -math.inf
        self._started = asyncio.Event()

    def lives(self, now_s: float) -> bool:
        """Whether the worker, and the registry that it speaks to, were heard lately."""
        return now_s <= self._lives_until_s

    async def until_started(self) -> None:
        """Wait until the worker says that its start is over."""
        await self._started.wait()

    async def until_silent(self, silence_s: float) -> None:
        """Wait until nothing has come over the pipe for so long after it was due."""
        look_s = min(_LOOK_S, silence_s / 4)
        silence = Silence(most_step_s=2 * look_s)
        loop = asyncio.get_running_loop()
        while True:
            if silence.seconds(self._sign, loop.time()) > self._most_silent_s(silence_s):
                return
            # Those who look at hundreds of pipes do so in one turn of the loop.
            await asyncio.sleep(look_s - loop.time() % look_s)

    def _most_silent_s(self, silence_s: float) -> float:
        if self._sign is None:
            return silence_s * _STARTING_TIMES
        return silence_s + RESTING_BEAT_S if self._rests else silence_s

    def hear(self) -> None:
        """Something can be read."""
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._read_end, _MOST_BYTES)
            self._sign = object()
            last = max(_LIVES_S, key=said.rfind)
            self._rests = said.endswith(RESTING_BEAT)
            if last in said:
                self._lives_until_s = asyncio.get_running_loop().time() + _LIVES_S[last]
            if STARTED in said:
                self._started.set()


@contextlib.contextmanager
def heartbeat_pipe() -> Iterator[HeartbeatPipe]:
    """A pipe to one process, which is heard until the end of the block."""
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    try:
        pipe = HeartbeatPipe(read_end, write_end)
        loop.add_reader(read_end, pipe.hear)
        yield pipe
    finally:
        loop.remove_reader(read_end)
        os.close(read_end)
        os.close(write_end)
