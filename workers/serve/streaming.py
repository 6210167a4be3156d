"""Streaming: requests of decoupled models, each answered in any number of parts.

The model's code runs on the device's thread, from one part to the next, and each part is added to
the reply while the next is made. When the store says that enough is on its way, the code waits. A
worker that takes over from a dead one makes the reply anew; what had been passed on already is not
passed on again, and must come out the same.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from penstock.errors import Code, OutOfMemory, StoreUnavailable, forget_frames
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import Chunk, Outcome, Timing
from penstock.scheduler.replies.chunks import Added, Chunks, Ended
from penstock.scheduler.store.link import Link
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.run import encoding
from penstock.workers.run.execution import Failure, failure_of
from penstock.workers.run.python_execution import PythonExecution
from penstock.workers.run.tensor import Tensor
from penstock.workers.run.work import Work
from penstock.workers.serve.spec import WorkerSpec
from penstock.workers.serve.worker import Worker

_DIGEST_BYTES: Final = 16
_LEAST_PAUSE_S: Final = 0.002
_MOST_PAUSE_S: Final = 0.1

HAND_OVER_S: Final = 5.0
"""How long a worker that is to end goes on with a reply before another has to take over."""

_MOST_HAND_OVERS: Final = 1000
_REFUSALS: Final = {
    Added.LOST: Failure(Code.CANCELLED, ""),
    Added.CANCELLED: Failure(Code.CANCELLED, ""),
    Added.DIFFERENT: Failure(
        Code.ABORTED,
        "the worker that answered is gone, and the next one's answer differs from what was sent "
        "already: send the request again",
    ),
    Added.GAP: Failure(Code.ABORTED, "the queue lost a part of the reply: send the request again"),
}
_ENDS: Final = {Code.OK: Ended.COMPLETE, Code.CANCELLED: Ended.CANCELLED}
_TOO_LATE: Final = Failure(Code.DEADLINE_EXCEEDED, "the deadline passed")


class _Over(Exception):
    """Nobody waits for the reply any more, or it cannot go on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _HandOver(Exception):
    """This worker is to end: another must go on."""


class PartedReply:
    """The reply to one job, part by part.

    Attributes:
        count: parts so far.
        made_ns: nanoseconds that the model took for the latest, or for finding that it has no more.
    """

    def __init__(
        self, chunks: Chunks, spec: WorkerSpec, work: Work, leaving: Callable[[], bool]
    ) -> None:
        self._chunks = chunks
        self._spec = spec
        self._work = work
        self._leaving = leaving
        self._digest = b""
        self._adding: asyncio.Task[None] | None = None
        self.count = 0
        self.made_ns = 0

    def check(self) -> None:
        """Raise what ends the reply, if anything does."""
        if self._work.revoked:
            raise _Over(_REFUSALS[Added.CANCELLED])
        if self._work.ends_s <= time.monotonic():
            raise _Over(_TOO_LATE)
        if self._leaving():
            raise _HandOver

    async def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Send a part on its way, once the one before it is there."""
        spec = self._spec
        self.count += 1
        began_ns = time.perf_counter_ns()
        self._digest = _digest(self._digest, tensors)
        body = encoding.reply(self._work, tensors, spec.keeps, spec.ref.version, spec.hop_name)
        timing = Timing(infer_ns=self.made_ns, output_ns=time.perf_counter_ns() - began_ns)
        chunk = Chunk(self._work.lease.id, self.count, self._digest, body)
        await self.there()
        self._adding = asyncio.create_task(self._add(chunk, timing))

    async def there(self) -> None:
        """Wait until all parts are there."""
        if self._adding is not None:
            await self._adding

    def drop(self) -> None:
        """Send nothing more."""
        if self._adding is not None and not self._adding.cancel() and not self._adding.cancelled():
            self._adding.exception()  # it was told, or does not matter any more

    def end(self, code: Code, link: Link) -> None:
        """Count how it ended; *link* is the one on which the job's end leaves next."""
        lease, how = self._work.lease, _ENDS.get(code, Ended.FAILED)
        ref, count, took_ns = self._spec.ref, self.count, self.made_ns
        self._chunks.end(ref, lease.token, lease.id, count, how, took_ns, link)

    async def _add(self, chunk: Chunk, timing: Timing) -> None:
        pause_s = _LEAST_PAUSE_S
        token = self._work.lease.token
        while True:
            try:
                added = await self._chunks.add(self._spec.ref, token, chunk, timing)
            except (StoreUnavailable, OutOfMemory):
                added = Added.FULL
            if added is Added.FINE:
                return
            if added is not Added.FULL:
                raise _Over(_REFUSALS[added])
            self.check()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MOST_PAUSE_S)


class StreamingWorker(Worker):
    """A worker of a decoupled model: one request at a time."""

    def __init__(
        self,
        spec: WorkerSpec,
        queue: Queue,
        link: Link,
        execution: PythonExecution,
        renewal: Renewal,
        device: ThreadPoolExecutor,
    ) -> None:
        super().__init__(spec, queue, link, execution, renewal, device)
        self._model = execution
        self._chunks = Chunks(queue)
        self._hand_over_s: float | None = None

    async def _run_on_device(self, batch: list[Work], rows: int, size: int) -> None:
        del size  # a reply takes as long as its parts do
        # Nothing is claimed ahead: nobody knows how long this takes, and other workers may be idle.
        (work,) = batch
        began_ns = time.perf_counter_ns()
        outcome = await self._answer(work)
        timing = Timing(infer_ns=time.perf_counter_ns() - began_ns)
        self._running = None
        if outcome is None:
            lease = work.lease
            self._sink.retry(lease.token, [lease.id], "its workers were stopped", _MOST_HAND_OVERS)
        else:
            work.sink.settle(work.lease.token, rows, timing, [outcome])
        self._claim_ahead()
        self._begin()

    async def _answer(self, work: Work) -> Outcome | None:
        """Make and send the whole reply; its end, or None when another worker must go on."""
        reply = PartedReply(self._chunks, self._spec, work, self._must_leave)
        responses = self._model.stream(work)
        failure: Failure | None = None
        try:
            try:
                await self._pass_on(responses, reply)
            except (_Over, _HandOver):
                raise
            except Exception as error:  # noqa: BLE001 - the model's code raises what it likes
                failure = failure_of(error)
                forget_frames(error)
            # Whatever was made before it failed comes before the failure.
            await reply.there()
        except _HandOver:
            return None
        except _Over as over:
            failure = over.failure
        finally:
            reply.drop()
            await asyncio.get_running_loop().run_in_executor(self._device, responses.close)
        reply.end(Code.OK if failure is None else failure.code, self._link)
        if failure is not None:
            return Outcome(work.lease.id, failure.code, failure.message, b"")
        end = encoding.end_of_parts(work, self._spec.ref.version, self._spec.hop_name, reply.count)
        return Outcome(work.lease.id, Code.OK, "", end)

    async def _pass_on(
        self, responses: Generator[dict[str, Tensor], None, None], reply: PartedReply
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            reply.check()
            self._renewal.batch_begins(responses)
            began_ns = time.perf_counter_ns()
            try:
                tensors = await loop.run_in_executor(self._device, next, responses, None)
            finally:
                reply.made_ns = time.perf_counter_ns() - began_ns
                self._renewal.batch_ends()
            if tensors is None:
                return
            await reply.add(tensors)

    def _must_leave(self) -> bool:
        if not self._draining:
            return False
        if self._hand_over_s is None:
            self._hand_over_s = time.monotonic() + HAND_OVER_S
        return time.monotonic() > self._hand_over_s


def _digest(before: bytes, tensors: Mapping[str, Tensor]) -> bytes:
    """Of what a reply holds so far: names, types, shapes and bytes, and nothing of its way."""
    digest = hashlib.blake2b(before, digest_size=_DIGEST_BYTES)
    for name, tensor in sorted(tensors.items()):
        described = f"{name}\0{tensor.datatype}\0{list(tensor.shape)}\0{len(tensor.raw)}\0"
        digest.update(described.encode())
        digest.update(tensor.raw)
    return digest.digest()
