"""Streaming: requests of decoupled models, each answered in any number of parts.

The model's code runs on the device's thread, and where it likes on threads of its own; each part is
added to the reply while the next is made. When the store says that enough is on its way, the code
waits. A worker that takes over from a dead one makes the reply anew; what had been passed on
already is not passed on again, and must come out the same.

Several requests may be under way at a time. Their parts are made one after another on the one
thread, or beside each other by code that has threads, or an event loop, of its own.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from penstock.errors import Code, forget_frames
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import Outcome, Timing
from penstock.scheduler.replies.chunks import Chunks
from penstock.scheduler.store.link import Link
from penstock.workers.calls.caller import Caller
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.run import encoding
from penstock.workers.run.execution import Failure, failure_of
from penstock.workers.run.python_execution import PythonExecution
from penstock.workers.run.triton_execution import TritonExecution
from penstock.workers.run.work import Work
from penstock.workers.serve.queue_sink import QueueSink
from penstock.workers.serve.results import JobResults, in_step
from penstock.workers.serve.spec import WorkerSpec
from penstock.workers.serve.streaming.part_sources import (
    DeviceThread,
    PartFailed,
    PartSource,
    SentParts,
    YieldedParts,
)
from penstock.workers.serve.streaming.parted_reply import HandOver, Over, PartedReply
from penstock.workers.serve.streaming.rest_of_route import RestOfRoute
from penstock.workers.serve.worker import Worker

HAND_OVER_S: Final = 5.0
"""How long a worker that is to end goes on with a reply before another has to take over."""

_MOST_HAND_OVERS: Final = 1000


class StreamingWorker(Worker):
    """A worker of a decoupled model."""

    def __init__(
        self,
        spec: WorkerSpec,
        queue: Queue,
        link: Link,
        execution: PythonExecution | TritonExecution,
        renewal: Renewal,
        device: ThreadPoolExecutor,
        caller: Caller,
    ) -> None:
        """*caller* asks the steps behind this one, in ensembles; see `Worker`."""
        super().__init__(spec, queue, link, execution, renewal, device)
        # It sleeps on the bell while requests are under way, and that blocks the link for claims.
        self._sink = QueueSink(spec, queue, None, renewal)
        self._results = JobResults(spec, self._sink)
        self._model = execution
        self._device_thread = DeviceThread(device, renewal)
        self._chunks = Chunks(queue)
        self._caller = caller
        self._active: dict[asyncio.Task[None], Work] = {}
        self._hand_over_s: float | None = None

    # what is under way

    def _is_busy(self) -> bool:
        alone = any(work.alone for work in self._active.values())
        return bool(self._staged) or alone or len(self._active) >= self._spec.streams

    def _is_idle(self) -> bool:
        return not self._active and not self._staged

    def _under_way(self) -> set["asyncio.Task[None]"]:
        return set(self._active)

    def _begin(self) -> None:
        while self._staged and not self._draining and len(self._active) < self._spec.streams:
            for work in self._next_batch():
                task = asyncio.create_task(self._see_to(work))
                self._active[task] = work
                task.add_done_callback(self._free)
        if not self._is_busy():
            self._claim_ahead()

    def _free(self, task: "asyncio.Task[None]") -> None:
        del self._active[task]
        super()._free(task)
        self._claim_ahead()
        self._begin()

    # one request

    async def _see_to(self, work: Work) -> None:
        began_ns = time.perf_counter_ns()
        outcome = await self._answer(work)
        timing = Timing(infer_ns=time.perf_counter_ns() - began_ns)
        self.work.add(work.rows, timing.infer_ns / 1e9)
        if outcome is None:
            lease = work.lease
            self._sink.retry(lease.token, [lease.id], "its workers were stopped", _MOST_HAND_OVERS)
        else:
            work.sink.settle(work.lease.token, work.rows, timing, [outcome])

    async def _answer(self, work: Work) -> Outcome | None:
        """Make and send the whole reply; its end, or None when another worker must go on."""
        reply = PartedReply(self._chunks, self._spec, work, self._must_leave)
        rest = RestOfRoute.of(work, reply, self._spec, self._caller)
        source = self._source(work)
        failure: Failure | None = None
        try:
            try:
                await self._pass_on(source, reply, rest)
            except PartFailed as error:
                failure = in_step(work, error.failure)
                forget_frames(error)
            # Whatever was made before it failed comes before the failure.
            if rest is not None:
                failure = await rest.there() or failure
            await reply.there()
        except HandOver:
            return None
        except Over as over:
            failure = over.failure
        except Exception as error:  # noqa: BLE001 - the model's code makes what it likes
            failure = in_step(work, failure_of(error))
            forget_frames(error)
        finally:
            reply.drop()
            if rest is not None:
                await rest.close()
            await source.close()
        return self._end_of(work, reply, failure)

    def _source(self, work: Work) -> PartSource:
        if isinstance(self._model, TritonExecution):
            return SentParts(self._model, work, self._device_thread)
        return YieldedParts(self._model.stream(work), self._device_thread)

    async def _pass_on(
        self, source: PartSource, reply: PartedReply, rest: RestOfRoute | None
    ) -> None:
        while True:
            reply.check()
            began_ns = time.perf_counter_ns()
            try:
                tensors = await source.next(reply.check)
            finally:
                reply.made_ns = time.perf_counter_ns() - began_ns
            if tensors is None:
                return
            if rest is None:
                await reply.add(tensors)
            else:
                await rest.add(tensors)

    def _end_of(self, work: Work, reply: PartedReply, failure: Failure | None) -> Outcome:
        reply.end(
            Code.OK if failure is None else failure.code, self._queue.link_of(self._spec.ref.model)
        )
        if failure is not None:
            return Outcome(work.lease.id, failure.code, failure.message, b"")
        end = encoding.end_of_parts(work, reply.version, self._spec.hop_name, reply.count)
        return Outcome(work.lease.id, Code.OK, "", end)

    def _must_leave(self) -> bool:
        if not self._draining:
            return False
        if self._hand_over_s is None:
            self._hand_over_s = time.monotonic() + HAND_OVER_S
        return time.monotonic() > self._hand_over_s
