"""Pending: the requests of this gateway that wait for their jobs to end.

The client's open RPC is the durable record of a request. Whoever waits longer than a second, or
saw Redis come back, asks for the job's state, and queues it again where Redis forgot it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import count

import structlog

from penstock.clock import Clock, monotonic
from penstock.errors import (
    Code,
    DeadlineExceeded,
    JobFailed,
    PenstockError,
    StoreUnavailable,
    TurnLost,
)
from penstock.gateway.delivery.counters import RESUBMITTED, Tally
from penstock.gateway.delivery.lending import Lender, lent
from penstock.gateway.delivery.parts import Inbox, ReplyBroken
from penstock.gateway.delivery.reconcile import ASK_AFTER_S, Reconciliation
from penstock.gateway.delivery.sequence_order import Turns
from penstock.gateway.delivery.waiting import Door, Pending
from penstock.gateway.requests.kinds.decoupled import Part
from penstock.scheduler.jobs.enqueue_batches import Answered
from penstock.scheduler.jobs.payloads import LARGE_BYTES
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import Chunk, NewJob, QueueLimits
from penstock.scheduler.replies.chunks import Chunks
from penstock.scheduler.replies.reader import Reply
from penstock.scheduler.store.keys import StageRef

log = structlog.get_logger()

SWEEP_EVERY_S = 0.25
_AT_THE_END_S = 0.05
Submit = Callable[[NewJob, Answered], None]
_TURN_LOST = (
    "the answer was lost with the store's memory, and the request cannot run twice: "
    "start the sequence again"
)
_ALIVE = frozenset({"waiting", "leased", "delayed", "moving"})


class PendingTable:
    """All pending requests of one gateway process.

    Attributes:
        payload_bytes: of all of them.
        overdue: how many requests of a stage were late; whoever looks at them takes them out.
        tally: what became of requests that only this process sees.
    """

    def __init__(
        self,
        queue: Queue,
        gateway: str,
        clock: Clock = monotonic,
        lender: Lender | None = None,
        door: Door | None = None,
    ) -> None:
        """*gateway*: the boot id, to which replies are addressed.

        Args:
            door: where jobs go that have no other; None for the queue.
        """
        self._queue = queue
        self._door: Door = door or queue
        self._chunks = Chunks(queue)
        self._gateway = gateway
        self._clock = clock
        self._pending: dict[str, Pending] = {}
        self._reconciliation = Reconciliation(queue, self._pending, self._reconcile, clock)
        self._crowds: Counter[StageRef] = Counter()
        self._later: Counter[StageRef] = Counter()
        self._ids = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = Turns()
        self._lender = lender or Lender(0)
        self.payload_bytes = 0
        self.overdue: Counter[StageRef] = Counter()
        self.tally = Tally()

    def __len__(self) -> int:
        return len(self._pending)

    def __repr__(self) -> str:
        return f"PendingTable({len(self)} waiting, {self.payload_bytes} bytes)"

    def next_id(self) -> str:
        """A job id that nobody else has."""
        return f"{self._gateway}-{next(self._ids):x}"

    def waiting_for(self, ref: StageRef) -> int:
        """How many requests wait for jobs that began in *ref*."""
        return self._crowds[ref] + self._later[ref]

    def refs(self) -> list[StageRef]:
        """The stages that jobs began in which requests wait for."""
        return [ref for ref, count in self._crowds.items() if count]

    def models(self) -> set[str]:
        """The models that requests wait for."""
        waiting = (*self._crowds.items(), *self._later.items())
        return {ref.model for ref, count in waiting if count}

    async def answer_to(
        self,
        job: NewJob,
        limits: QueueLimits,
        submit: Submit | None = None,
        door: Door | None = None,
    ) -> bytes:
        """Queue *job* and wait for its reply, a serialized ModelInferResponse.

        A cancelled caller takes its job out of the queue.

        Args:
            submit: queues it, if that is done in a way of its own.
            door: where the job goes; None for where most go.

        Raises:
            JobFailed, QueueFull, OutOfMemory, DeadlineExceeded: how it ended instead.
        """
        pending = self._opened(job, limits, door or self._door)
        try:
            self._submit(pending, submit)
            return await pending.answer
        except asyncio.CancelledError:
            # A client's own deadline reaches its gateway as the client's going away.
            self.overdue[job.ref] += self._clock() >= pending.ends_s - _AT_THE_END_S
            self._cancel(pending)
            raise
        finally:
            self._closed(pending)

    async def parts_of(self, job: NewJob, limits: QueueLimits) -> AsyncGenerator[Part, None]:
        """As `answer_to`, for a reply in parts: each of them, and then its end without outputs.

        Raises:
            as `answer_to`; ReplyBroken: another worker went on, and not as the reply had begun.
        """
        inbox = Inbox()
        pending = self._opened(job, limits, self._queue, inbox)
        answer = pending.answer
        answer.add_done_callback(inbox.wake)
        try:
            self._submit(pending)
            while (body := await inbox.next(answer)) is not None:
                yield Part(body, final=False)
                if inbox.passed(body):
                    self._tell(pending, inbox)
            yield Part(inbox.end(answer.result()), final=True)
        except (asyncio.CancelledError, GeneratorExit):
            self._cancel(pending)
            raise
        finally:
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # told, or nobody is there to be told
            self._closed(pending)

    def _opened(
        self, job: NewJob, limits: QueueLimits, door: Door, inbox: Inbox | None = None
    ) -> Pending:
        """A request that waits from now on, and counts as one."""
        now_s = self._clock()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        ends_s, ask_s = now_s + job.ttl_ms / 1000, now_s + ASK_AFTER_S
        pending = Pending(job, limits, ends_s, ask_s, answer, door, inbox=inbox)
        self._pending[job.id] = pending
        self._crowds[job.ref] += 1
        if job.later:
            self._later.update(job.later)
        self.payload_bytes += len(job.payload)
        return pending

    def _closed(self, pending: Pending) -> None:
        """It waits no more, however it ended."""
        job = pending.job
        self._pending.pop(job.id, None)
        # A shared reply's door knows the request: they would keep each other, and the payload.
        pending.door = self._door
        self._crowds[job.ref] -= 1
        if job.later:
            self._later.subtract(job.later)
        self.payload_bytes -= len(job.payload)
        if pending.loan is not None:
            self._lender.take_back(pending.loan)
        if job.turn is not None:
            self._turns.leave(_sequence_of(job), pending)

    def deliver_chunk(self, chunk: Chunk) -> None:
        """Put a part of a reply where its request waits for it, if any does still."""
        pending = self._pending.get(chunk.job)
        if pending is None or pending.inbox is None or pending.answer.done():
            return
        try:
            if pending.inbox.put(chunk):
                self._tell(pending, pending.inbox)
        except ReplyBroken as error:
            pending.answer.set_exception(error)
            self._cancel(pending)

    def deliver(self, reply: Reply) -> None:
        """End the request that waits for *reply*; nobody may, when it was cancelled or repeated."""
        pending = self._pending.get(reply.job)
        if pending is None:
            self._deliver_shared(reply)
        elif pending.answer.done():
            return
        elif reply.code == 0:
            pending.answer.set_result(reply.body)
        elif reply.code is Code.ABORTED and not self._is_own(pending):
            self._submit(pending)
        elif reply.code is Code.DATA_LOSS and pending.loan is not None:
            self._send_payload(pending)
        else:
            pending.answer.set_exception(JobFailed(reply.code, reply.message))

    def _deliver_shared(self, reply: Reply) -> None:
        """A shared reply comes once for all who wait for it here; it names them in one word."""
        if " " in reply.job:
            for name in reply.job.split(" "):
                self.deliver(reply._replace(job=name))

    async def sweep_regularly(self) -> None:
        """End what is overdue, and ask for what has waited long; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            # Apart: a store that is silent must not hold up a deadline.
            tasks.create_task(self._end_regularly())
            tasks.create_task(self._reconciliation.run())

    async def _end_regularly(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self._end_overdue()
            self._lender.trim()

    async def close(self) -> None:
        """Wait for what is being told to the queue."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    def _submit(self, pending: Pending, submit: Submit | None = None) -> None:
        """Send its job on its way; whatever is wrong with that is its answer, and nobody else's."""

        def answered(outcome: str | Exception | None) -> None:
            # While Redis is away the request waits on, and the sweep queues it again.
            if isinstance(outcome, StoreUnavailable) or pending.answer.done():
                return
            if isinstance(outcome, Exception):
                pending.answer.set_exception(outcome)

        try:
            self._send(pending, answered, submit)
        except Exception as error:  # noqa: BLE001 - a sweep, or a neighbour, may have called
            answered(error)

    def _send(self, pending: Pending, answered: Answered, submit: Submit | None) -> None:
        if submit is not None:
            submit(pending.job, answered)
            return
        if pending.job.turn is not None:
            self._submit_in_turn(pending, answered)
            return
        job, crowd = pending.job, self._crowds[pending.job.ref]
        if len(job.payload) >= LARGE_BYTES and self._is_own(pending):
            pending.loan = pending.loan or self._lender.lend(job)
            if pending.loan is not None:
                job = lent(job, pending.loan)
        pending.door.submit(job, pending.limits, answered, crowd)

    def _is_own(self, pending: Pending) -> bool:
        """Whether its job is nobody else's."""
        return pending.door is self._door or pending.door is self._queue

    def _send_payload(self, pending: Pending) -> None:
        """Queue a request anew, with its payload: a worker could not read it in this process."""
        self._lender.avoid(pending.job.ref)
        if pending.loan is not None:
            self._lender.take_back(pending.loan)
        pending.loan = None
        self._rename(pending)
        self._submit_again(pending)

    def _tell(self, pending: Pending, inbox: Inbox) -> None:
        """Let the worker hear how much of its reply has been passed on."""
        model, job = pending.job.ref.model, pending.job.id
        telling = self._chunks.taken(model, job, inbox.passed_on, inbox.passed_bytes)
        self._see_to(telling)

    def _submit_in_turn(self, pending: Pending, answered: Answered) -> None:
        sequence = _sequence_of(pending.job)

        def entered(outcome: str | Exception | None) -> None:
            answered(outcome)
            if not isinstance(outcome, StoreUnavailable):
                self._turns.leave(sequence, pending)

        def send() -> None:
            # Those behind it wait for it: there is nobody to wait for.
            try:
                self._queue.submit(pending.job, pending.limits, entered, len(self._turns))
            except Exception as error:  # noqa: BLE001 - whoever left before it may have called
                entered(error)

        self._turns.enter(sequence, pending, send)

    def _cancel(self, pending: Pending) -> None:
        first, *later = pending.job.models
        self._see_to(pending.door.cancel(first, pending.job.id, *later))

    def _see_to(self, command: Awaitable[object]) -> None:
        task = asyncio.create_task(_tried(command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end_overdue(self) -> None:
        now_s = self._clock()
        for pending in self._pending.values():
            if pending.ends_s <= now_s and not pending.answer.done():
                self.overdue[pending.job.ref] += 1
                pending.answer.set_exception(
                    DeadlineExceeded("the deadline passed while the request was queued or computed")
                )
                self._cancel(pending)

    def _reconcile(self, pending: Pending, state: str | None) -> bool:
        if state in _ALIVE:
            pending.strikes = 0
            return False
        if state is not None:
            # It has ended, and its reply is on its way; or it was lost with Redis's memory.
            pending.strikes += 1
            if pending.strikes < 2:
                return False
            if pending.job.turn is not None:
                pending.answer.set_exception(TurnLost(_TURN_LOST))
                return False
            self._rename(pending)
        if not self._submit_again(pending):
            return False
        log.info("queued again: Redis had forgotten it", job=pending.job.id)
        return True

    def _rename(self, pending: Pending) -> None:
        """Wait for a job of another id: the one that there was has ended."""
        del self._pending[pending.job.id]
        pending.job = pending.job._replace(id=self.next_id())
        self._pending[pending.job.id] = pending

    def _submit_again(self, pending: Pending) -> bool:
        """Queue it for what is left of its time, if anything is."""
        left_ms = int((pending.ends_s - self._clock()) * 1000)
        if left_ms <= 0:
            return False
        pending.job = pending.job._replace(ttl_ms=left_ms)
        pending.strikes = 0
        self.tally.count(pending.job.ref, RESUBMITTED)
        self._submit(pending)
        return True


async def _tried(command: Awaitable[object]) -> None:
    try:
        await command
    except PenstockError as error:
        log.debug("telling the queue failed, the deadline will end the job", error=str(error))


def _sequence_of(job: NewJob) -> tuple[str, int, str]:
    if job.turn is None:
        raise AssertionError("only jobs of sequences have turns")
    return job.ref.model, job.ref.version, job.turn.sequence
