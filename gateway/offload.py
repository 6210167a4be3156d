"""One thread for what would hold up the event loop: checks of very many small things.

The interpreter lets the event loop go on every few milliseconds while that thread works. One
thread, so that however many long requests come at once, all others wait for one of them at most.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Offload:
    """The thread of one gateway process; it begins with the first call."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="offload")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What *call* returns or raises; it must touch nothing that the event loop changes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: call(*args, **kwargs))
