"""Supervisor: helper tasks outlive their own defects, and regular ones outages of the store.

A helper looks, counts or tells; requests are answered without it for a while. One that raises what
nobody foresaw is started again after a pause that grows, and the log says so each time. What
carries the service (replies, deadlines, the queue) is no helper: its process had better end,
loudly.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from penstock.clock import Clock, monotonic
from penstock.errors import PenstockError

log = structlog.get_logger()

FIRST_PAUSE_S: Final = 0.2
MOST_PAUSE_S: Final = 10.0
STEADY_S: Final = 60.0
"""A helper that lived for so long is started again without a long pause."""


async def supervise(
    name: str,
    helper: Callable[[], Awaitable[Any]],
    *,
    clock: Clock = monotonic,
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> None:
    """Run *helper*, and again whenever it raises, until it returns or is cancelled."""
    pause_s = FIRST_PAUSE_S
    while True:
        began_s = clock()
        try:
            await helper()
        except Exception:
            if clock() - began_s >= STEADY_S:
                pause_s = FIRST_PAUSE_S
            log.exception("a background task failed, starting it again", helper=name)
            await sleep(pause_s)
            pause_s = min(2 * pause_s, MOST_PAUSE_S)
        else:
            return


async def regularly(
    every_s: float, step: Callable[[], Awaitable[object]], failing: str, **facts: object
) -> None:
    """Do *step* until cancelled; the log says *failing*, and *facts*, once for each outage."""
    away = False
    while True:
        try:
            await step()
            away = False
        except PenstockError as error:
            if not away:
                log.warning(failing, **facts, error=str(error))
            away = True
        await asyncio.sleep(every_s)
