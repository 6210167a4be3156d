"""Forked for each reaper of a store, which says when it begins, and reaps without a pause."""

import asyncio

from support.processes.forks import be_forked

from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.roles.reaper import Reaper
from penstock.scheduler.store.link import Links


async def main(url):
    async with Links(url) as links:
        queue = await open_queue(links)
        print("reaping", flush=True)
        await Reaper(queue, interval_s=0).run()


if __name__ == "__main__":
    asyncio.run(main(*be_forked()))
