"""The heartbeat pipe: over it a node hears the worker that it started.

Only the process that was started holds the other end, so nothing but its own signs of life count.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from penstock.workers.liveness.silence import Silence

_VARIABLE: Final = "PENSTOCK_HEARTBEAT_FD"
_LOOK_S: Final = 1.0
_STARTING_TIMES: Final = 10.0
"""A process that has not said anything yet may be silent so many times as long: it starts."""

_MOST_BYTES: Final = 4096


class HeartbeatPipe(NamedTuple):
    """A pipe's end, and what a process must be given so that it has the other.

    Attributes:
        read_end: file descriptor.
        environment: of the process.
        inherited: file descriptors that it inherits.
    """

    read_end: int
    environment: Mapping[str, str]
    inherited: tuple[int, ...]


@contextlib.contextmanager
def heartbeat_pipe(environment: Mapping[str, str] | None = None) -> Iterator[HeartbeatPipe]:
    """A pipe to one process; closed at the end.

    Args:
        environment: what the process has besides; None for what this one has.
    """
    base = os.environ if environment is None else environment
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    try:
        yield HeartbeatPipe(read_end, {**base, _VARIABLE: str(write_end)}, (write_end,))
    finally:
        os.close(read_end)
        os.close(write_end)


async def until_silent(read_end: int, silence_s: float) -> None:
    """Wait until nothing has come over the pipe for so long."""
    look_s = min(_LOOK_S, silence_s / 4)
    silence = Silence(most_step_s=2 * look_s)
    loop = asyncio.get_running_loop()
    sign, limit_s = object(), silence_s * _STARTING_TIMES
    while silence.seconds(sign, loop.time()) <= limit_s:
        await asyncio.sleep(look_s)
        if _has_beaten(read_end):
            sign, limit_s = object(), silence_s


def _has_beaten(read_end: int) -> bool:
    try:
        return bool(os.read(read_end, _MOST_BYTES))
    except BlockingIOError:
        return False
