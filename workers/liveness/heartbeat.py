"""Heartbeat: a worker's signs of life, from a thread and a connection of their own.

The worker's record is announced from here, and its leases are renewed, so that a long computation
cannot make a live worker look dead. The node that started the worker hears each beat over a pipe,
and starts anew one that is silent: stopped, or with an interpreter that never comes free. The
thread also watches the worker's event loop, and ends the process when that makes no progress for
too long.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, Self, TypeVar

import structlog

from penstock.errors import PenstockError
from penstock.process.priority import step_up
from penstock.process.supervised import supervise
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.artifact_facts import ArtifactFacts
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.link import Links
from penstock.workers.liveness.announcer import Announcer
from penstock.workers.liveness.exits import HUNG
from penstock.workers.liveness.heartbeat_pipe import (
    BEAT,
    BEAT_S,
    LONELY_BEAT,
    RESTING_BEAT,
    RESTING_BEAT_S,
    STARTED,
)
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.liveness.silence import Silence

log = structlog.get_logger()

T = TypeVar("T")

_LONGEST_TICK_S: Final = 60.0
_LEAST_RESTING_LIMIT_S: Final = 60.0
_RETRY_S: Final = 0.5


class Heartbeat:
    """The signs of life of one worker.

    Attributes:
        record: what is announced at present.
    """

    def __init__(
        self, redis: str, record: pb.Worker, *, pipe: int | None, run_limit_s: float
    ) -> None:
        """Make one that is still.

        Args:
            pipe: file descriptor of the node's pipe; None for a worker without a node.
            run_limit_s: an event loop that is silent for longer, or a batch, ends the process.
        """
        self.record = record
        self._redis = redis
        self._pipe = pipe
        self._run_limit_s = run_limit_s
        self._silence = Silence(most_step_s=2 * RESTING_BEAT_S)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._links: asyncio.Future[Links] = self._loop.create_future()
        self._announcer: asyncio.Future[Announcer] = self._loop.create_future()
        self._renewal: Renewal | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._connections_made = 0
        self._tick: object = None
        self._ticking: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._main, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._tick_on(asyncio.get_running_loop())
        return self

    def __exit__(self, *_: object) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def renew(self, model: str, lease_ms: int) -> Renewal:
        """Keep alive, from now on, what the renewal is told to hold: leases of *model*."""
        self._renewal = Renewal(model, lease_ms, run_limit_s=self._run_limit_s)
        self._loop.call_soon_threadsafe(self._start, self._renew(self._renewal))
        return self._renewal

    async def become(
        self,
        state: pb.WorkerState,
        *,
        reason: str = "",
        facts: ArtifactFacts | None = None,
    ) -> None:
        """Announce a new state now."""
        await self._there(lambda announcer: announcer.become(state, reason=reason, facts=facts))

    def found_unsplittable(self, why: str) -> None:
        """Announce that requests must not share a run of the artifact."""
        self._loop.call_soon_threadsafe(lambda: self._announcer.result().found_unsplittable(why))

    def found_footprint(self, held_bytes: int) -> None:
        """Announce how much of its device the worker holds."""
        self._loop.call_soon_threadsafe(
            lambda: self._announcer.result().found_footprint(held_bytes)
        )

    def heed_unsplittable(self, heed: Callable[[str], None]) -> None:
        """Have *heed* called, on this loop, with why requests must not share a run of the artifact.

        Before the next state is announced if that is known, else once the cluster says so; maybe
        more than once.
        """
        loop = asyncio.get_running_loop()

        def set_unsplittable(why: str) -> None:
            loop.call_soon_threadsafe(heed, why)

        def begin() -> None:
            announcer = self._announcer.result()
            announcer.on_unsplittable = set_unsplittable
            if announcer.unsplittable:
                set_unsplittable(announcer.unsplittable)

        self._loop.call_soon_threadsafe(begin)

    def has_started(self) -> None:
        """The start costs nothing any more: the worker is ready, or waits for others."""
        self._tell_node(STARTED)
        step_up()

    async def leave(self) -> None:
        """Take the record out of the registry; nothing is announced any more."""
        if self._announcer.done():
            await self._there(Announcer.leave)

    async def _there(self, call: Callable[[Announcer], Awaitable[T]]) -> T:
        """What *call* returns on the thread, in the order of its announcements."""

        async def called() -> T:
            return await call(await asyncio.shield(self._announcer))

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(called(), self._loop))

    def _tick_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """A sign of life of the worker's event loop, often enough for the limit."""
        self._tick = object()
        pause_s = max(BEAT_S, min(_LONGEST_TICK_S, self._run_limit_s / 10))
        self._ticking = loop.call_later(pause_s, self._tick_on, loop)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _run(self) -> None:
        self._start(self._announce())
        try:
            while not self._stop.is_set():
                # Unheard, it waits to tell its node that it is heard again.
                rests = self._rests() and self._is_heard()
                self._tell_node(self._beat(rests=rests))
                self._check_loop(time.monotonic())
                if self._renewal is not None:
                    self._renewal.check_progress()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RESTING_BEAT_S if rests else BEAT_S):
                        await self._stop.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _rests(self) -> bool:
        """Whether signs of life may be rare: no job comes, and no limit is as short."""
        resting = self._renewal is not None and self._renewal.rests
        return resting and self._run_limit_s >= _LEAST_RESTING_LIMIT_S

    def _is_heard(self) -> bool:
        return self._announcer.done() and self._announcer.result().is_heard

    def _beat(self, *, rests: bool) -> bytes:
        if not self._is_heard():
            return LONELY_BEAT
        links = self._links.result()
        # Another server may answer, or one that has forgotten; who rests does all in one wake.
        if rests or self._connections_made not in (0, links.connections_made):
            self._announcer.result().announce_soon()
        self._connections_made = links.connections_made
        return RESTING_BEAT if rests else BEAT

    def _tell_node(self, sign: bytes) -> None:
        if self._pipe is None:
            return
        # A node that is too busy to read hears earlier beats yet; one that is gone hears none.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._pipe, sign)

    def _check_loop(self, now_s: float) -> None:
        if self._silence.seconds(self._tick, now_s) > self._run_limit_s:
            log.error("the event loop makes no progress: ending", after_s=self._run_limit_s)
            os._exit(HUNG)

    async def _renew(self, renewal: Renewal) -> None:
        links = await asyncio.shield(self._links)
        await supervise("renewal", partial(renewal.run, links))

    async def _announce(self) -> None:
        while not self._announcer.done():
            try:
                async with Links(self._redis) as links:
                    vouched = self._pipe is not None
                    announcer = Announcer(Registry(links), self.record, vouched=vouched)
                    announcer.rests = self._rests
                    self._links.set_result(links)
                    self._announcer.set_result(announcer)
                    await announcer.run()
                    await self._stop.wait()
            except (PenstockError, OSError) as error:
                log.warning("announcing failed", error=str(error))
                await asyncio.sleep(_RETRY_S)
