"""Waits until a gateway knows of the models: before that it would refuse what it serves."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

log = structlog.get_logger()

_SAY_AFTER_S: Final = 5.0


async def until_known(
    known: asyncio.Event,
    stop: asyncio.Event,
    tasks: Sequence["asyncio.Task[None]"],
    say_after_s: float = _SAY_AFTER_S,
) -> None:
    """Wait until the registry has been read, and say so while it takes long; or for *stop*.

    Raises:
        Exception: that one of *tasks* ended with.
    """
    knowing = asyncio.create_task(known.wait())
    waited = {knowing, asyncio.create_task(stop.wait()), *tasks}
    try:
        while not (known.is_set() or stop.is_set()):
            done, _ = await asyncio.wait(
                waited, timeout=say_after_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            if not done:
                log.warning("the registry has not been read yet; see the lines above for a reason")
    finally:
        for task in waited - set(tasks):
            task.cancel()
