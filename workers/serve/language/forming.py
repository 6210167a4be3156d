"""Forming a group: its head finds the workers of the later stages, and connects with them."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from typing import Final

import structlog

from penstock.language.rebuild import weakest
from penstock.process.lifetime import until_first
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.registry import Registry
from penstock.workers.serve.language.dialer import Dialer
from penstock.workers.serve.language.group import Group
from penstock.workers.serve.language.hops import HopPlace, Membership
from penstock.workers.serve.language.members import choose

log = structlog.get_logger()

_PAUSE_S: Final = 0.2
"""Heads that want the same workers do not try again at the same moment."""

Waits = Callable[[str], Awaitable[None]]
"""Is told what the group waits for."""


class Forming:
    """The groups of one head, one after the other."""

    def __init__(
        self, registry: Registry, own: pb.Worker, stages: int, silence_s: float, dialer: Dialer
    ) -> None:
        """*own*: the record of the head; other arguments as for `choose` and `Group`."""
        self._registry = registry
        self._own = own
        self._stages = stages
        self._silence_s = silence_s
        self._dialer = dialer
        self._numbers = count()
        self._formed: Group | None = None

    async def form(self, waits: Waits, stop: asyncio.Event) -> Group | None:
        """A group of workers that are all connected with this one; None once *stop* is set."""
        self._formed = None
        forming = asyncio.create_task(self._form(waits))
        try:
            await until_first(stop, forming)
        finally:
            forming.cancel()
            await asyncio.gather(forming, return_exceptions=True)
        return self._formed

    async def _form(self, waits: Waits) -> None:
        shunned: list[str] = []
        await waits("its group forms")
        async with contextlib.aclosing(self._registry.watch()) as snapshots:
            async for snapshot in snapshots:
                live, far = snapshot.live_workers(), self._dialer.goes_far
                chosen = choose(self._own, live, self._stages, shunned, goes_far=far)
                if isinstance(chosen, str):
                    await waits(chosen)
                    continue
                group = self._group_of([self._own, *chosen])
                shunned = await group.form()
                if not shunned:
                    self._formed = group
                    log.info("the group has formed", workers=[worker.id for worker in chosen])
                    return
                await waits("the workers of its later stages are in other groups, or silent")
                await asyncio.sleep(random.uniform(0, _PAUSE_S))  # noqa: S311 - no secret

    def _group_of(self, workers: Sequence[pb.Worker]) -> Group:
        boot_ids = tuple(worker.boot_id for worker in workers)
        places = [HopPlace(worker.memory_domain, worker.hop_address) for worker in workers]
        if not any(place.address for place in places):
            # Releases that know one machine alone need not be told.
            places = []
        membership = Membership(boot_ids, next(self._numbers))
        # Each stage has been tried where it is.
        rebuild = weakest(worker.rebuild for worker in workers)
        return Group(membership, self._silence_s, self._dialer, places, rebuild)


@contextlib.asynccontextmanager
async def either(*events: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """An event that is set once one of *events* is, until the end of the block."""
    over = asyncio.Event()

    async def follow(event: asyncio.Event) -> None:
        await event.wait()
        over.set()

    following = [asyncio.create_task(follow(event)) for event in events]
    try:
        yield over
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
