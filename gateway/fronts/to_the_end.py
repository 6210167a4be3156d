"""Waits for what grpc.aio does, without breaking it off: it would never free what it holds then.

grpc.aio frees a message, in memory of its C library, in the lines behind the one that waits for
it. Where whoever reads is cancelled there, as the call's deadline or client has it, or for want of
memory, those lines never run, and a message that comes nevertheless is never freed.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def to_the_end(doing: Coroutine[Any, Any, Any]) -> Any:
    """What *doing* comes to; it goes on to its end also where nobody waits for it any more.

    A task of its own would do the same, and cost a small request some hundredths of all it costs.
    """
    try:
        first = doing.send(None)
    except StopIteration as done:
        return done.value
    loop = asyncio.get_running_loop()
    came: asyncio.Future[Any] = loop.create_future()

    def wait_for(future: Any) -> None:
        if future is None:
            # It only lets others go on.
            loop.call_soon(go_on, None)
            return
        # As a task does: it takes the mark away by which a future knows that it is awaited.
        future._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's protocol for tasks
        future.add_done_callback(go_on)

    def go_on(_: Any) -> None:
        try:
            following = doing.send(None)
        except StopIteration as done:
            if not came.done():
                came.set_result(done.value)
        except BaseException as error:  # noqa: BLE001 - it is whoever waits that hears of it
            if not came.done():
                came.set_exception(error)
        else:
            wait_for(following)

    wait_for(first)
    return await came
