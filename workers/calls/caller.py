"""The caller: puts calls into the queue, and has their replies, as a gateway does for clients.

It belongs to the worker's event loop, and is asked from the threads on which the model's code runs.
It comes to life with the first call: a worker whose model calls nobody costs nothing more.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from contextlib import aclosing
from typing import Final, Self

from penstock.clock import bounded_ms, bounded_ms_of_us
from penstock.errors import (
    DeadlineExceeded,
    JobFailed,
    ModelNotReady,
    PenstockError,
    Unimplemented,
)
from penstock.models.config.policies import QueueLimits
from penstock.process.supervised import supervise
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.replies.read_through import ReadThrough
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.requests.checks import admit
from penstock.scheduler.requests.job_sink import JobSink, OnOutcome
from penstock.scheduler.requests.pending import PendingTable
from penstock.scheduler.store.link import Links
from penstock.workers.calls.messages import payload_of, request_of, response_of
from penstock.workers.calls.responses import CallResponses
from penstock.workers.calls.targets import Target, Targets
from penstock.workers.runtimes.triton_python.environment import ModelCall
from penstock.workers.runtimes.triton_python.errors import TritonError
from penstock.workers.runtimes.triton_python.responses import InferenceResponse

_LOOK_EVERY_S: Final = 1.0
_ANSWER_S: Final = 10.0
_WAITING: Final = frozenset({"waiting", "delayed"})


class Caller:
    """Calls of one worker, until the end of its ``async with``."""

    def __init__(self, links: Links, queue: Queue, boot_id: str) -> None:
        """*boot_id*: the worker's; replies come under its name."""
        self._links = links
        self._queue = queue
        self._name = f"{boot_id}-calls"
        self._loop = asyncio.get_running_loop()
        read = ReadThrough()
        self._pending = PendingTable(queue, self._name, _ToQueue(queue), read_through=read)
        self._replies = ReplyReader(
            links,
            queue.partitions,
            self._name,
            self._pending.deliver,
            self._pending.deliver_chunk,
            read,
        )
        self._targets = Targets()
        self._known = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ask nobody any more; what is waited for still, nobody is told."""
        if not self._tasks:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(PenstockError):
            await self._replies.heartbeat(leave=True)

    # asked from other threads

    def one(self, call: ModelCall) -> "Future[InferenceResponse]":
        """See `Calls.one`."""
        return asyncio.run_coroutine_threadsafe(self._one(call), self._loop)

    def many(self, call: ModelCall) -> CallResponses:
        """See `Calls.many`."""
        return CallResponses(self._many(call), self._loop)

    def is_ready(self, model: str, version: str) -> bool:
        """See `Calls.is_ready`."""
        looking = asyncio.run_coroutine_threadsafe(self._is_ready(model, version), self._loop)
        return looking.result(_ANSWER_S)

    # on the event loop

    async def reply_to(self, job: NewJob, limits: QueueLimits) -> bytes:
        """The reply to a job that is put together already; see `PendingTable.answer_to`."""
        await self._open()
        return await self._pending.answer_to(job, limits)

    async def replies_to(self, job: NewJob, limits: QueueLimits) -> AsyncGenerator[bytes, None]:
        """The same for one whose reply comes in parts."""
        await self._open()
        async with aclosing(self._pending.parts_of(job, limits)) as parts:
            async for part in parts:
                if not part.final:
                    yield part.body

    def next_job(self) -> tuple[str, str]:
        """The id of a job that is new, and the name under which its reply comes."""
        return self._pending.next_id(), self._name

    async def _one(self, call: ModelCall) -> InferenceResponse:
        try:
            target = await self._target(call)
            if target.decoupled:
                raise Unimplemented(
                    f"Model {call.model} is using the decoupled. The current BLS request call "
                    "doesn't support models using the decoupled transaction policy. Please use "
                    "'decoupled=True' argument to the 'exec' or 'async_exec' calls for decoupled "
                    "models.'"
                )
            while True:
                body = await self._answered(call, target)
                if body is not None:
                    return response_of(body)
                target = await self._target(call)
        except PenstockError as error:
            return _failed(call, error)

    async def _many(self, call: ModelCall) -> AsyncGenerator[InferenceResponse, None]:
        try:
            target = await self._target(call)
            if not target.decoupled:
                yield await self._one(call)
                return
            job, limits = self._job(call, target)
            async with aclosing(self.replies_to(job, limits)) as bodies:
                async for body in bodies:
                    yield response_of(body)
            yield InferenceResponse([])
        except PenstockError as error:
            yield _failed(call, error)

    async def _answered(self, call: ModelCall, target: Target) -> bytes | None:
        """The reply; None where the target went away before the call was begun."""
        job, limits = self._job(call, target)
        answering = asyncio.ensure_future(self._pending.answer_to(job, limits))
        try:
            while True:
                await asyncio.wait({answering}, timeout=_LOOK_EVERY_S)
                if answering.done():
                    return answering.result()
                if not self._targets.takes_requests(target.ref) and await self._waits(job):
                    return None
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    async def _waits(self, job: NewJob) -> bool:
        try:
            first, *later = job.models
            return await self._queue.state(first, job.id, *later) in _WAITING
        except PenstockError:
            return False

    async def _target(self, call: ModelCall) -> Target:
        try:
            async with asyncio.timeout(call.ends_s - time.monotonic()):
                await self._open()
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the store was away") from None
        target = self._targets.find(call.model, call.version)
        if target.in_sequences:
            raise ModelNotReady(
                f"model '{call.model}' has sequence_batching: its requests come from clients, and "
                "not from other models"
            )
        return target

    def _job(self, call: ModelCall, target: Target) -> tuple[NewJob, QueueLimits]:
        """The job that a call becomes, once it is found to be right."""
        remaining_s = call.ends_s - time.monotonic()
        if remaining_s <= 0:
            raise DeadlineExceeded("the deadline passed before the call was made")
        request, raws = request_of(call)
        admitted = admit(request, target.rules, raws)
        job = NewJob(
            id=self._pending.next_id(),
            gateway=self._name,
            ref=target.ref,
            priority=admitted.priority,
            rows=admitted.rows,
            ttl_ms=bounded_ms(remaining_s),
            begin_within_ms=bounded_ms_of_us(admitted.timeout_us),
            payload=payload_of(request, raws),
        )
        if target.route is not None:
            job = target.route.placed(job, request)
        return job, target.limits

    async def _is_ready(self, model: str, version: str) -> bool:
        await self._open()
        return self._targets.is_ready(model, version)

    async def _open(self) -> None:
        """Come to life, and wait until it is known which models there are.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._replies.run()),
                asyncio.create_task(self._pending.run()),
                asyncio.create_task(supervise("registry watch", self._watch)),
            ]
            await self._replies.heartbeat()
        await self._known.wait()

    async def _watch(self) -> None:
        async for snapshot in Registry(self._links).watch():
            self._targets.update(snapshot)
            self._known.set()


class _ToQueue(JobSink):
    """All jobs go into the queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def submit(
        self, job: NewJob, limits: QueueLimits, on_outcome: OnOutcome, in_flight: int = 2
    ) -> None:
        """See `JobSink.submit`."""
        self._queue.submit(job, limits, on_outcome, in_flight)

    async def state(self, model: str, job: str, *later: str) -> str | None:
        """See `JobSink.state`."""
        return await self._queue.state(model, job, *later)

    async def cancel(self, model: str, job: str, *later: str) -> None:
        """See `JobSink.cancel`."""
        await self._queue.cancel(model, job, *later)

    def release(self, job: NewJob) -> None:
        """Nothing is kept for it."""


def _failed(call: ModelCall, error: PenstockError) -> InferenceResponse:
    """A call that came to nothing, in Triton's words, and with the code that it gives them all."""
    text = str(error)
    if not isinstance(error, JobFailed):
        text = f"Model {call.model} - Error when running inference: {text}"
    return InferenceResponse(error=TritonError(text, TritonError.INTERNAL))
