"""What readers of the registry see."""

import asyncio
import contextlib

from support.waiting import until

from penstock.scheduler.store.keys import RegistryKeys


@contextlib.asynccontextmanager
async def following(source):
    """What an endless iterator has given so far."""
    found = []

    async def follow():
        async for one in source:
            found.append(one)  # noqa: PERF401 as they come

    task = asyncio.create_task(follow())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def watching(registry):
    """The snapshots that a reader of the registry sees, the first one included."""
    async with following(registry.watch()) as seen:
        await until(lambda: seen)
        yield seen


async def kinds(links):
    entries = await links.to(RegistryKeys.tag).command("XRANGE", RegistryKeys.changes, "-", "+")
    return [fields[1].decode() for _, fields in entries]
