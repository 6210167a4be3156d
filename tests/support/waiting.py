"""Waiting for what another task or process makes true."""

import asyncio
import inspect


async def until(condition, seconds=10.0):
    """Wait until *condition* returns something true, and return that; fail after *seconds*."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.005)
