"""Renewal: keeps a worker's leases alive, from a thread and a connection of its own.

A long kernel, or a computation that holds the interpreter, cannot make a live worker lose its
jobs. The thread also watches the running batch: one that makes no progress for too long ends the
process, so that the jobs go to another worker and the node starts a new one.
"""

import asyncio
import os
import threading
import time
from collections.abc import Iterable
from typing import Final, Self

import structlog

from penstock.errors import PenstockError, StoreUnavailable
from penstock.scheduler.jobs import Held
from penstock.scheduler.keyspace import open_queue
from penstock.scheduler.link import Links
from penstock.scheduler.queue import Queue
from penstock.workers.exits import HUNG
from penstock.workers.work import Work

log = structlog.get_logger()

_AGAIN_S: Final = 0.1


class Renewal:
    """The leases that a worker holds, renewed every third of their length."""

    def __init__(self, redis: str, model: str, lease_ms: int, *, hung_after_s: float) -> None:
        self._redis = redis
        self._model = model
        self._lease_ms = lease_ms
        self._hung_after_s = hung_after_s
        self._lock = threading.Lock()
        self._held: dict[str, Work] = {}
        self._running_since: float | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="renewal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def hold(self, works: Iterable[Work]) -> None:
        """Renew the leases of *works* from now on; marks those that are revoked."""
        with self._lock:
            self._held.update((work.lease.id, work) for work in works)

    def release(self, works: Iterable[Work]) -> None:
        """Their leases have ended, or are about to."""
        with self._lock:
            for work in works:
                self._held.pop(work.lease.id, None)

    def batch_begins(self) -> None:
        """The device starts a batch."""
        self._running_since = time.monotonic()

    def batch_ends(self) -> None:
        """The device is done with it."""
        self._running_since = None

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                async with Links(self._redis) as links:
                    queue = await open_queue(links)
                    while not await self._paused():
                        await self._renew(queue)
            except (PenstockError, OSError) as error:
                log.warning("renewing leases failed", error=str(error))
                await self._paused()

    async def _renew(self, queue: Queue) -> None:
        """Renew all that is held; where the store is away, as soon as it is back."""
        away = False
        while not self._stop.is_set():
            self._check_progress()
            held = self._snapshot()
            if not held:
                return
            pairs = [(work.lease.id, work.lease.token) for work in held]
            try:
                answers = await queue.renew(self._model, pairs, self._lease_ms)
            except StoreUnavailable as error:
                if not away:
                    log.warning("leases cannot be renewed, waiting", error=str(error))
                away = True
                await asyncio.sleep(_AGAIN_S)
                continue
            _mark(held, answers)
            return

    async def _paused(self) -> bool:
        """Wait for a third of a lease; whether it is time to stop."""
        try:
            await asyncio.wait_for(self._stop.wait(), self._lease_ms / 3000)
        except TimeoutError:
            return False
        return True

    def _snapshot(self) -> list[Work]:
        with self._lock:
            return list(self._held.values())

    def _check_progress(self) -> None:
        since = self._running_since
        if since is not None and time.monotonic() - since > self._hung_after_s:
            log.error("the batch makes no progress: ending", after_s=self._hung_after_s)
            os._exit(HUNG)


def _mark(held: list[Work], answers: list[Held]) -> None:
    for work, answer in zip(held, answers, strict=True):
        if answer is not Held.FINE:
            work.revoked = True
