"""Reaps the store at URL without a pause, until it is killed; says when it has begun."""

import asyncio
import sys

from penstock.scheduler.keyspace import open_queue
from penstock.scheduler.link import Links
from penstock.scheduler.reaper import Reaper


async def main(url):
    async with Links(url) as links:
        queue = await open_queue(links)
        print("reaping", flush=True)
        await Reaper(queue, interval_s=0).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
