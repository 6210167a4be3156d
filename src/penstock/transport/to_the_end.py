"""Waits for what grpc.aio does, without breaking it off: it would never free what it holds then.

grpc.aio frees a message, in memory of its C library, in the lines behind the one that waits for
it. Where whoever reads is cancelled there, as the call's deadline or client has it, or for want of
memory, those lines never run, and a message that comes nevertheless is never freed.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any


async def to_the_end(doing: Coroutine[Any, Any, Any]) -> Any:
    """What *doing* comes to; it goes on to its end also where nobody waits for it any more.

    A task of its own would do the same, and cost a small request some hundredths of all it costs.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            future = doing.send(None)
        except StopIteration as done:
            return done.value
        arrived: asyncio.Future[None] = loop.create_future()
        _when_done(future, partial(_arrive, arrived))
        try:
            await arrived
        except BaseException:
            _when_done(future, lambda _: _go_on(doing))
            raise


def _arrive(arrived: "asyncio.Future[None]", _: object) -> None:
    if not arrived.done():
        arrived.set_result(None)


def _go_on(doing: Coroutine[Any, Any, Any]) -> None:
    """Take *doing* to its end, for nobody."""
    try:
        future = doing.send(None)
    except (Exception, StopIteration, asyncio.CancelledError):  # noqa: BLE001 - nobody hears it
        return
    _when_done(future, lambda _: _go_on(doing))


def _when_done(future: Any, then: Callable[[Any], None]) -> None:
    """Call *then* once what a coroutine waits for is there: *future*, or the loop's next turn."""
    if future is None:
        asyncio.get_running_loop().call_soon(then, None)
        return
    # As a task does: it takes the mark away by which a future knows that it is awaited.
    future._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's protocol for tasks
    future.add_done_callback(then)
