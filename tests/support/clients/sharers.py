"""Requests that share replies, and a look behind them into the store."""

import asyncio

from support.probe import FIRST, LONG_MS, UNLIMITED, job

from penstock.scheduler.jobs.shared_replies import Lead, SharedReplies, Spent, Waiter, cached, keyed

MIB = 1 << 20
NOTHING = Spent()


class Sharers:
    """Requests of several gateways that share replies."""

    def __init__(self, probe):
        self.probe = probe
        self.replies = SharedReplies(probe.queue)

    async def join(
        self, shared, waiter, gateway="gateway-1", *, ttl_ms=LONG_MS, spent=NOTHING, waits=False
    ):
        """Join, and do as told; what it came to."""
        answer = asyncio.get_running_loop().create_future()
        waiting = Waiter(waiter, gateway, ttl_ms, waits)
        self.replies.join(FIRST, shared, waiting, f"job-of-{waiter}", answer.set_result, spent)
        return await answer

    async def lead(self, shared, waiter, gateway="gateway-1", **changes):
        """Join as the first, and enqueue the job; its id."""
        told = await self.join(shared, waiter, gateway)
        assert isinstance(told, Lead)
        await self.enqueue(shared, told.job, **changes)
        return told.job

    async def enqueue(self, shared, id_, **changes):
        await self.probe.queue.enqueue(job(id_, gateway=shared.owner, **changes), UNLIMITED)

    async def leave(self, shared, waiter):
        return await self.replies.leave(FIRST, shared, waiter)

    async def waiters(self, shared):
        """Those that wait for *shared*."""
        fields = await self.probe.command("HKEYS", self.probe.keys.replies + shared.owner)
        return [field.decode()[2:] for field in fields if field.startswith(b"w:")]

    async def counted(self):
        counters = await self.probe.statistics()
        return {k: v for k, v in counters.items() if k.startswith("cache_") and "_ns" not in k}

    async def kept(self, kind="cache"):
        """(shared replies, their bytes as counted, their bytes as stored)."""
        keys = self.probe.keys
        members = await self.probe.members(keys.kept + kind)
        counted = int(await self.probe.command("GET", keys.kept_bytes + kind) or 0)
        return (
            [m.split(" ", 1)[1] for m in members],
            counted,
            sum(int(m.split()[0]) for m in members),
        )


def content(digest="digest", *, ref=FIRST, most_bytes=MIB):
    return cached(ref, digest, LONG_MS, most_bytes)


def key(name="key", digest="digest", *, keep_ms=LONG_MS, most_bytes=MIB):
    return keyed(FIRST.model, name, digest, keep_ms, most_bytes)
