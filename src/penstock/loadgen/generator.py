"""One process's share of a load, on one event loop.

Made as light as grpc.aio allows, because it often shares its cores with the server under test:
requests were serialized beforehand, answers are counted and not parsed.
"""

import asyncio
import itertools
import selectors
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from penstock.client.access import Access
from penstock.errors import Code, PenstockError
from penstock.loadgen.outcome import Outcome
from penstock.loadgen.plan import Plan
from penstock.loadgen.schedule import poisson_times

Call = Callable[..., Any]
"""A unary RPC from bytes to bytes."""

_NS = 1_000_000_000
_MOST_IN_FLIGHT = 10_000
"""Of an open loop, in one process: beyond it sending waits, and the waiting counts as latency."""

_REFUSED_PAUSE_S = 0.01
"""After UNAVAILABLE, so that a server that is down is not asked in a tight loop."""

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Without it, channels to one address share one connection.
    ("grpc.use_local_subchannel_pool", 1),
    # What is measured is the first attempt.
    ("grpc.enable_retries", 0),
)


class Unreachable(PenstockError):
    """Nobody answers at the target."""

    code = Code.UNAVAILABLE

    def __init__(self, target: str) -> None:
        super().__init__(f"no server answers at {target}")
        self.target = target


@dataclass(slots=True)
class Tally:
    """Counts what belongs to the measured time [*starts_ns*, *ends_ns*)."""

    starts_ns: int
    ends_ns: int
    outcome: Outcome

    def succeeded(self, sent_ns: int) -> None:
        """A good answer came just now."""
        now_ns = time.perf_counter_ns()
        if self.starts_ns <= now_ns < self.ends_ns:
            self.outcome.answered += 1
        if self.starts_ns <= sent_ns < self.ends_ns:
            self.outcome.latency.record(now_ns - sent_ns)

    def failed(self, sent_ns: int, code: str, message: str) -> None:
        """A request ended otherwise."""
        if self.starts_ns <= sent_ns < self.ends_ns:
            self.outcome.errors[code] += 1
            self.outcome.messages.setdefault(code, message)

    def was_late(self, due_ns: int, by_ns: int) -> None:
        """A request was sent after it was due."""
        if self.starts_ns <= due_ns < self.ends_ns:
            self.outcome.lateness.record(by_ns)


class Generator:
    """Makes the load of *plan* over the connections in *calls*.

    Attributes:
        outcome: what was counted; can be read meanwhile.
    """

    def __init__(self, plan: Plan, calls: list[Call]) -> None:
        self.outcome = Outcome(plan.duration_s)
        self._plan = plan
        self._calls = calls

    async def run(self) -> Outcome:
        """Warm up, measure, and wait for the answers to what was sent."""
        plan = self._plan
        starts_ns = time.perf_counter_ns() + int(plan.warmup_s * _NS)
        tally = Tally(starts_ns, starts_ns + int(plan.duration_s * _NS), self.outcome)
        requests = itertools.cycle(plan.requests)
        if plan.concurrency is not None:
            # An endless cycle shared by all callers: no two adjacent requests are the same.
            callers = [self._caller(tally, requests, place) for place in range(plan.concurrency)]
            await self._finish(callers, tally)
        else:
            await self._open_loop(tally, requests)
        return self.outcome

    async def _caller(self, tally: Tally, requests: "itertools.cycle[bytes]", place: int) -> None:
        """Send, wait, send again."""
        call, timeout_s = self._calls[place % len(self._calls)], self._plan.timeout_s
        while (sent_ns := time.perf_counter_ns()) < tally.ends_ns:
            try:
                await call(next(requests), timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                tally.failed(sent_ns, error.code().name, error.details() or "")
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    await asyncio.sleep(_REFUSED_PAUSE_S)
            else:
                tally.succeeded(sent_ns)

    async def _open_loop(self, tally: Tally, requests: "itertools.cycle[bytes]") -> None:
        """Send each request when it is due, whatever became of those before."""
        began_ns = tally.starts_ns - int(self._plan.warmup_s * _NS)
        in_flight: set[asyncio.Task[None]] = set()
        room = asyncio.Semaphore(_MOST_IN_FLIGHT)
        calls = itertools.cycle(self._calls)
        assert self._plan.rate_per_s is not None  # noqa: S101 - the caller's branch
        for due_s in poisson_times(self._plan.rate_per_s, self._plan.seed):
            due_ns = began_ns + int(due_s * _NS)
            if due_ns >= tally.ends_ns:
                break
            if (wait_ns := due_ns - time.perf_counter_ns()) > 0:
                await asyncio.sleep(wait_ns / _NS)
            await room.acquire()
            tally.was_late(due_ns, time.perf_counter_ns() - due_ns)
            task = asyncio.create_task(self._once(tally, next(calls), next(requests), due_ns))
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)
            task.add_done_callback(lambda _: room.release())
        await self._finish(in_flight, tally)

    async def _once(self, tally: Tally, call: Call, request: bytes, due_ns: int) -> None:
        try:
            await call(request, timeout=self._plan.timeout_s)
        except grpc.aio.AioRpcError as error:
            tally.failed(due_ns, error.code().name, error.details() or "")
        else:
            tally.succeeded(due_ns)

    async def _finish(
        self, work: "list[Coroutine[Any, Any, None]] | set[asyncio.Task[None]]", tally: Tally
    ) -> None:
        """Wait until all is answered, at most `Plan.drain_s` after the measured time."""
        tasks = {asyncio.ensure_future(one) for one in work}
        if not tasks:
            return
        left_s = (tally.ends_ns - time.perf_counter_ns()) / _NS + self._plan.drain_s
        done, unanswered = await asyncio.wait(tasks, timeout=left_s)
        for task in unanswered:
            task.cancel()
            tally.failed(tally.starts_ns, "UNANSWERED", f"no answer after {left_s:.0f} s")
        await asyncio.gather(*unanswered, return_exceptions=True)
        for task in done:
            task.result()


@asynccontextmanager
async def connected(plan: Plan) -> AsyncIterator[list[Call]]:
    """The plan's RPC over as many connections as it wants, each one established.

    Raises:
        Unreachable: when they are not within `Plan.connect_s`.
    """
    access = Access.of(plan.target, plan.credentials)
    channels = [access.aio_channel(*_CHANNEL_OPTIONS) for _ in range(plan.connections)]
    try:
        ready = asyncio.gather(*(channel.channel_ready() for channel in channels))
        try:
            await asyncio.wait_for(ready, plan.connect_s)
        except TimeoutError:
            raise Unreachable(plan.target) from None
        # No serializers: bytes go out and come back as they are.
        calls: list[Call] = [channel.unary_unary(plan.method) for channel in channels]
        own = access.metadata()
        yield calls if own is None else [partial(call, metadata=own) for call in calls]
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


def new_event_loop(plan: Plan) -> asyncio.AbstractEventLoop:
    """The loop that suits: the fastest for a closed one, the most punctual for an open one.

    epoll and libuv round waiting to milliseconds, select does not.
    """
    if plan.rate_per_s is not None:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
