"""Reaps the store at URL without a pause, until it is killed; says when it has begun."""

import asyncio
import sys

from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.roles.reaper import Reaper
from penstock.scheduler.store.link import Links


async def main(url):
    async with Links(url) as links:
        queue = await open_queue(links)
        print("reaping", flush=True)
        await Reaper(queue, interval_s=0).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
