"""Where the parts of a reply come from: code that yields them, or that sends them by itself."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, Protocol, TypeVar

from penstock.workers.liveness.renewal import Renewal
from penstock.workers.run.execution import Failure, Result
from penstock.workers.run.tensor import Tensor
from penstock.workers.run.triton_execution import TritonExecution, whole_failure
from penstock.workers.run.work import Work
from penstock.workers.runtimes.triton_python.requests import InferenceRequest
from penstock.workers.runtimes.triton_python.responses import InferenceResponse, ResponseSender

P = ParamSpec("P")
T = TypeVar("T")

MOST_UNSENT: Final = 64
"""Parts that code may be ahead of those that are on their way; then `send` waits."""

_LOOK_EVERY_S: Final = 0.25

Check = Callable[[], None]
"""Raises what ends a reply, if anything does."""


class DeviceThread:
    """The one thread that runs the model's code; what runs there is watched."""

    def __init__(self, executor: ThreadPoolExecutor, renewal: Renewal) -> None:
        self._executor = executor
        self._renewal = renewal

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What *function* returns there."""

        def watched() -> T:
            self._renewal.batch_begins(object())
            try:
                return function(*args, **kwargs)
            finally:
                self._renewal.batch_ends()

        return await asyncio.get_running_loop().run_in_executor(self._executor, watched)


class PartFailed(Exception):
    """The model answered with an error, after the parts before."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class PartSource(Protocol):
    """The parts of one reply, as the model makes them."""

    async def next(self, check: Check) -> dict[str, Tensor] | None:
        """The next part; None after the last.

        Raises:
            PartFailed: the model failed.
            Exception: what *check* raises, which is asked while nothing comes.
        """

    async def close(self) -> None:
        """Want no more of them."""


class YieldedParts:
    """Parts that a generator yields, from one to the next on the device's thread."""

    def __init__(
        self, responses: Generator[dict[str, Tensor], None, None], device: DeviceThread
    ) -> None:
        self._responses = responses
        self._device = device

    async def next(self, check: Check) -> dict[str, Tensor] | None:
        """See `PartSource.next`."""
        check()
        try:
            return await self._device.run(next, self._responses, None)
        except Exception as error:
            raise PartFailed(whole_failure(error)) from error

    async def close(self) -> None:
        """See `PartSource.close`."""
        await self._device.run(self._responses.close)


class SentParts:
    """Parts that code of Triton's contract sends, from any thread, while and after it is called."""

    def __init__(self, execution: TritonExecution, work: Work, device: DeviceThread) -> None:
        self._execution = execution
        self._work = work
        self._device = device
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Result] = deque()
        self._woken = asyncio.Event()
        self._last_came = False
        self._begun: asyncio.Task[None] | None = None
        self._request: InferenceRequest | None = None
        self._room = threading.Semaphore(MOST_UNSENT)
        self._over = threading.Event()

    async def next(self, check: Check) -> dict[str, Tensor] | None:
        """See `PartSource.next`."""
        if self._begun is None:
            self._begun = asyncio.create_task(self._begin())
            self._begun.add_done_callback(lambda _: self._woken.set())
        while not self._waiting:
            check()
            if self._last_came:
                return None
            if self._begun.done() and (error := self._begun.exception()) is not None:
                raise PartFailed(whole_failure(error))
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _LOOK_EVERY_S)
        part = self._waiting.popleft()
        self._room.release()
        if isinstance(part, Failure):
            raise PartFailed(part)
        return part

    async def close(self) -> None:
        """See `PartSource.close`: the code goes on, and hears that nobody waits."""
        self._over.set()
        if self._request is not None:
            self._execution.ended(self._request)
        if self._begun is not None and self._begun.done() and not self._begun.cancelled():
            self._begun.exception()  # it was told, or does not matter any more

    async def _begin(self) -> None:
        sender = ResponseSender(self._take, self._is_over, decoupled=True)
        request = self._execution.request_of(self._work, sender, self._is_over)
        self._request = request
        going_on = await self._device.run(self._execution.begin, request)
        if isinstance(going_on, Future):
            await asyncio.wrap_future(going_on)

    def _is_over(self) -> bool:
        return self._over.is_set() or self._work.revoked

    def _take(self, response: InferenceResponse | None, final: bool) -> None:  # noqa: FBT001
        """Take what the code sends, on its thread; it waits while it is far ahead."""
        result = None if response is None else self._execution.result_of(self._work, response)
        while result is not None and not self._room.acquire(timeout=_LOOK_EVERY_S):
            if self._is_over():
                return
        with contextlib.suppress(RuntimeError):  # the worker has ended
            self._loop.call_soon_threadsafe(self._put, result, final)

    def _put(self, result: Result | None, final: bool) -> None:  # noqa: FBT001
        if result is not None:
            self._waiting.append(result)
        self._last_came |= final
        self._woken.set()
