"""The reply to one job, part by part: each leaves while the next is made, in order and once."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Final

from penstock.errors import Code, OutOfMemory, StoreUnavailable
from penstock.protos import wire
from penstock.scheduler.jobs.types import Chunk, Timing
from penstock.scheduler.replies.chunks import Added, Chunks, Ended
from penstock.scheduler.store.link import Link
from penstock.workers.run import encoding
from penstock.workers.run.execution import Failure
from penstock.workers.run.tensor import Tensor
from penstock.workers.run.work import Work
from penstock.workers.serve.spec import WorkerSpec

_DIGEST_BYTES: Final = 16
_LEAST_PAUSE_S: Final = 0.002
_MOST_PAUSE_S: Final = 0.1

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


class Over(Exception):
    """Nobody waits for the reply any more, or it cannot go on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class HandOver(Exception):
    """This worker is to end: another must go on."""


class PartedReply:
    """The reply to one job.

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

    @property
    def version(self) -> int:
        """Of the model that the client asked."""
        step = self._work.ensemble_step
        return self._spec.ref.version if step is None else step.version

    def check(self) -> None:
        """Raise what ends the reply, if anything does."""
        if self._work.revoked:
            raise Over(_REFUSALS[Added.CANCELLED])
        if self._work.ends_s <= time.monotonic():
            raise Over(_TOO_LATE)
        if self._leaving():
            raise HandOver

    async def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Send what the model answered on its way, once the part before it is there."""
        began_ns = time.perf_counter_ns()
        work, keeps = self._work, self._spec.keeps
        step = work.ensemble_step
        if step is not None:
            tensors = step.map_outputs(work.ensemble_tensors, tensors, work.tensors)
            keeps = step.outputs
        body = encoding.reply(work, tensors, keeps, self.version, self._spec.hop_name)
        names = {name: tensors[name] for name in tensors if step is None or name in keeps}
        self._digest = _digest(self._digest, names)
        await self._put(body, time.perf_counter_ns() - began_ns)

    async def add_body(self, body: bytes) -> None:
        """The same for a serialized ModelInferResponse, which another worker made."""
        _, raws = wire.split_response(body)  # the head tells of the way as well
        digest = hashlib.blake2b(self._digest, digest_size=_DIGEST_BYTES)
        for raw in raws:
            digest.update(f"{len(raw)}\0".encode())
            digest.update(raw)
        self._digest = digest.digest()
        await self._put(body, 0)

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

    async def _put(self, body: bytes, output_ns: int) -> None:
        self.count += 1
        timing = Timing(infer_ns=self.made_ns, output_ns=output_ns)
        chunk = Chunk(self._work.lease.id, self.count, self._digest, body)
        await self.there()
        self._adding = asyncio.create_task(self._add(chunk, timing))

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
                raise Over(_REFUSALS[added])
            self.check()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MOST_PAUSE_S)


def _digest(before: bytes, tensors: Mapping[str, Tensor]) -> bytes:
    """Of what a reply holds so far: names, types, shapes and bytes, and nothing of its way."""
    digest = hashlib.blake2b(before, digest_size=_DIGEST_BYTES)
    for name, tensor in sorted(tensors.items()):
        described = f"{name}\0{tensor.datatype}\0{list(tensor.shape)}\0{len(tensor.raw)}\0"
        digest.update(described.encode())
        digest.update(tensor.raw)
    return digest.digest()
