"""Listening: what a node hears of a worker that it started, over a pipe.

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


class Hearing(NamedTuple):
    """A pipe's end, and what a process must be given so that it has the other.

    Attributes:
        heard: file descriptor, to be read.
        environment: of the process.
        given: file descriptors that it inherits.
    """

    heard: int
    environment: Mapping[str, str]
    given: tuple[int, ...]


@contextlib.contextmanager
def listening(environment: Mapping[str, str] | None = None) -> Iterator[Hearing]:
    """A pipe to one process; closed at the end.

    Args:
        environment: what the process has besides; None for what this one has.
    """
    given = os.environ if environment is None else environment
    heard, said = os.pipe()
    os.set_blocking(heard, False)
    os.set_blocking(said, False)
    try:
        yield Hearing(heard, {**given, _VARIABLE: str(said)}, (said,))
    finally:
        os.close(heard)
        os.close(said)


async def until_silent(heard: int, silence_s: float) -> None:
    """Wait until nothing has come over the pipe *heard* for so long."""
    look_s = min(_LOOK_S, silence_s / 4)
    silence = Silence(most_step_s=2 * look_s)
    loop = asyncio.get_running_loop()
    sign, limit_s = object(), silence_s * _STARTING_TIMES
    while silence.seconds(sign, loop.time()) <= limit_s:
        await asyncio.sleep(look_s)
        if _said_something(heard):
            sign, limit_s = object(), silence_s


def _said_something(heard: int) -> bool:
    try:
        return bool(os.read(heard, _MOST_BYTES))
    except BlockingIOError:
        return False
