"""Renewal: keeps a worker's leases alive, on the thread of its heartbeat.

A long kernel, or a computation on the event loop, cannot make a live worker lose its jobs. The
batch that runs is watched as well: where it takes much longer than expected, what the worker has
behind it goes back to the queue, for others; where it makes no progress for too long, the process
ends, so that its jobs go to another worker and the node starts a new one.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterable
from typing import Final

import structlog

from penstock.errors import PenstockError, StoreUnavailable
from penstock.scheduler.jobs.queue import Queue, open_queue
from penstock.scheduler.jobs.types import Held
from penstock.scheduler.store.link import Links
from penstock.workers.liveness.exits import HUNG
from penstock.workers.liveness.silence import Silence
from penstock.workers.run.work import Work

log = structlog.get_logger()

_AGAIN_S: Final = 0.1
_LATE_S: Final = 1.0
_LATE_TIMES: Final = 4.0
"""A batch is late when it takes a second and so many times as long as expected."""

_LONGEST_PAUSE_S: Final = 2.0
RESTS_AFTER_S: Final = 30.0
"""Without a job for so long, a worker rests: its signs of life are rarer."""


class Renewal:
    """The leases that a worker holds, renewed every third of their length."""

    def __init__(self, model: str, lease_ms: int, *, run_limit_s: float) -> None:
        """*run_limit_s*: a batch that runs for longer ends the process."""
        self._model = model
        self._pause_s = min(lease_ms / 3000, _LONGEST_PAUSE_S)
        self._lease_ms = lease_ms
        self._run_limit_s = run_limit_s
        self._lock = threading.Lock()
        self._held: dict[str, Work] = {}
        self._current: object = None
        self._reported: object = None
        self._expected_s = 0.0
        self._busy_s = time.monotonic()
        self._resting = False
        self._woken: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._silence = Silence(most_step_s=2 * _LONGEST_PAUSE_S)
        self._running_s = 0.0

    def hold(self, works: Iterable[Work]) -> None:
        """Renew the leases of *works* from now on; marks those that are revoked."""
        with self._lock:
            self._held.update((work.lease.id, work) for work in works)
            self._busy_s = time.monotonic()
            if self._resting and self._loop is not None and self._woken is not None:
                self._resting = False
                self._loop.call_soon_threadsafe(self._woken.set)

    def release(self, jobs: Iterable[str]) -> None:
        """Their leases have ended, or are about to."""
        with self._lock:
            for job in jobs:
                self._held.pop(job, None)

    def begin(self, works: Iterable[Work]) -> None:
        """The next batch is of *works*: none of them is given back from now on."""
        with self._lock:
            for work in works:
                work.begun = True

    def batch_begins(self, batch: object, expected_s: float | None = None) -> None:
        """*batch*, another object each time, starts to run, on whatever thread."""
        self._expected_s = expected_s or 0.0
        self._current = batch
        self._busy_s = time.monotonic()

    def batch_ends(self) -> None:
        """It is done."""
        self._current = None

    @property
    def rests(self) -> bool:
        """Whether there has been nothing to do for a while."""
        idle_s = time.monotonic() - self._busy_s
        return not self._held and self._current is None and idle_s > RESTS_AFTER_S

    async def run(self, links: Links) -> None:
        """Renew until cancelled."""
        queue: Queue | None = None
        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        while True:
            await asyncio.sleep(self._pause_s)
            await self._rest(self._woken)
            self.check_progress()
            try:
                queue = queue or await open_queue(links)
                with contextlib.suppress(StoreUnavailable):
                    await self._look_at_batch(queue)
                await self._renew(queue)
            except (PenstockError, OSError) as error:
                log.warning("renewing leases failed", error=str(error))

    async def _rest(self, woken: asyncio.Event) -> None:
        """Wait, where the worker rests, until it holds something."""
        with self._lock:
            woken.clear()
            self._resting = self.rests
        if self._resting:
            await woken.wait()

    async def _renew(self, queue: Queue) -> None:
        """Renew all that is held; where the store is away, as soon as it is back."""
        away = False
        while True:
            with self._lock:
                held = list(self._held.values())
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
            for work, answer in zip(held, answers, strict=True):
                if answer is not Held.FINE:
                    work.revoked = True
            return

    def check_progress(self) -> None:
        """End the process where the batch makes none; the heartbeat asks for it with each beat."""
        run = self._current
        seconds = self._silence.seconds(run, time.monotonic())
        self._running_s = 0.0 if run is None else seconds
        if self._running_s > self._run_limit_s:
            log.error("the batch makes no progress: ending", after_s=self._run_limit_s)
            os._exit(HUNG)

    async def _look_at_batch(self, queue: Queue) -> None:
        """Give others what waits behind a batch that is late."""
        run, expected_s = self._current, self._expected_s
        if run is None or self._running_s <= _LATE_S + _LATE_TIMES * expected_s:
            return
        behind = self._behind()
        if run is not self._reported:
            self._reported = run
            log.warning(
                "a batch takes longer than expected, others get what waits behind it",
                seconds=round(self._running_s, 1),
                expected_s=round(expected_s, 3),
                behind=len(behind),
            )
        for token in {work.lease.token for work in behind}:
            jobs = [work.lease.id for work in behind if work.lease.token == token]
            await queue.give_back(self._model, token, jobs)
            self.release(jobs)

    def _behind(self) -> list[Work]:
        """What the worker has not begun, and will not begin any more."""
        with self._lock:
            held = self._held.values()
            behind = [work for work in held if work.given_back or not work.begun]
            for work in behind:
                work.given_back = True
        return behind
