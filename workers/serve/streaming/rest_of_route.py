"""The rest of a route: parts of a decoupled step, each sent through the steps behind it.

Each part becomes a job of its own, whose reply is a part of the ensemble's reply, in the order of
the parts. The job that began them stays where it is: if its worker dies, the next one makes all of
them anew (ADR 0013), and the queue drops those that nobody waits for any more.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

from penstock.clock import bounded_ms
from penstock.errors import JobFailed, PenstockError
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.types import NewJob
from penstock.workers.calls.caller import Caller
from penstock.workers.run.ensemble_step import EnsembleStep
from penstock.workers.run.execution import Failure
from penstock.workers.run.tensor import Tensor
from penstock.workers.run.work import Work
from penstock.workers.serve.results import next_step
from penstock.workers.serve.spec import WorkerSpec
from penstock.workers.serve.streaming.part_sources import PartFailed
from penstock.workers.serve.streaming.parted_reply import PartedReply

MOST_AT_ONCE: Final = 8
"""Parts of one reply that may be in the steps behind."""


class RestOfRoute:
    """Of one job."""

    def __init__(
        self, work: Work, step: EnsembleStep, reply: PartedReply, spec: WorkerSpec, caller: Caller
    ) -> None:
        self._work = work
        self._step = step
        self._reply = reply
        self._spec = spec
        self._caller = caller
        self._order: asyncio.Queue[asyncio.Queue[bytes | Failure | None] | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()
        self._collecting = asyncio.create_task(self._collect())

    @classmethod
    def of(
        cls, work: Work, reply: PartedReply, spec: WorkerSpec, caller: Caller
    ) -> "RestOfRoute | None":
        """The steps behind this one; None where there are none."""
        step = work.ensemble_step
        if step is None or step.next_step is None:
            return None
        return cls(work, step, reply, spec, caller)

    async def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Send a part on its way, once there is room.

        Raises:
            PartFailed: one before it failed.
            Exception: what ends the reply, as one before it found.
        """
        acquiring = asyncio.ensure_future(self._room.acquire())
        either = {acquiring, self._collecting}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._collecting.done():
            acquiring.cancel()
            failure = self._collecting.result()
            if failure is not None:
                raise PartFailed(failure)
        answers: asyncio.Queue[bytes | Failure | None] = asyncio.Queue(1)
        task = asyncio.create_task(self._ask(*self._job(tensors), answers))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        self._order.put_nowait(answers)

    async def there(self) -> Failure | None:
        """Wait until all answers are in the reply; why one is not, if one failed."""
        self._order.put_nowait(None)
        return await self._collecting

    async def close(self) -> None:
        """Want no more of them."""
        left = {*self._under_way, self._collecting}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _collect(self) -> Failure | None:
        while (answers := await self._order.get()) is not None:
            while (answer := await answers.get()) is not None:
                if isinstance(answer, Failure):
                    return answer
                self._reply.check()
                await self._reply.add_body(answer)
            self._room.release()
        return None

    async def _ask(
        self,
        job: NewJob,
        limits: QueueLimits,
        answers: "asyncio.Queue[bytes | Failure | None]",
    ) -> None:
        try:
            async with aclosing(self._bodies(job, limits)) as bodies:
                async for body in bodies:
                    await answers.put(body)
        except JobFailed as error:
            await answers.put(Failure(error.code, str(error)))
        except PenstockError as error:
            await answers.put(Failure(error.code, self._step.reworded(str(error))))
        else:
            await answers.put(None)

    async def _bodies(self, job: NewJob, limits: QueueLimits) -> AsyncGenerator[bytes, None]:
        if any(step.decoupled for step in self._step.following):
            async with aclosing(self._caller.replies_to(job, limits)) as bodies:
                async for body in bodies:
                    yield body
        else:
            yield await self._caller.reply_to(job, limits)

    def _job(self, tensors: Mapping[str, Tensor]) -> tuple[NewJob, QueueLimits]:
        work, step = self._work, self._step
        to, move = next_step(work, step, tensors, self._spec)
        id_, name = self._caller.next_job()
        job = NewJob(
            id=id_,
            gateway=name,
            ref=to.ref,
            priority=move.priority,
            rows=move.rows,
            ttl_ms=bounded_ms(work.ends_s - time.monotonic()),
            begin_within_ms=move.begin_within_ms,
            payload=move.payload,
            later=tuple(
                StageRef(one.model, one.version, 0, one.revision_id) for one in step.following[1:]
            ),
        )
        return job, to.limits
