"""Pending: the requests of this process that wait for their jobs to end.

The client's open RPC is the durable record of a request. Whoever waits longer than a second, or
saw Redis come back, asks for the job's state (reconcile.py), and queues it again where Redis forgot
it (submission.py).
"""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from itertools import count
from typing import Final

import structlog

from penstock.clock import AT_THE_END_S, Clock, monotonic
from penstock.errors import DeadlineExceeded, PenstockError
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import Chunk, LogTokens, NewJob, Reply
from penstock.scheduler.replies.chunks import Chunks
from penstock.scheduler.replies.read_through import ReadThrough
from penstock.scheduler.requests.counters import GatewayCounters
from penstock.scheduler.requests.job_sink import JobSink
from penstock.scheduler.requests.parts import Part, PartsInOrder, ReplyBroken
from penstock.scheduler.requests.reconcile import ASK_AFTER_S, Reconciliation
from penstock.scheduler.requests.submission import Submission
from penstock.scheduler.requests.token_log import TokenLog
from penstock.scheduler.requests.waiting import Pending

log = structlog.get_logger()

STEP_S: Final = 0.25


class DueTimes:
    """Requests, together with those that are due within the same step of `STEP_S`."""

    def __init__(self) -> None:
        self._steps: defaultdict[int, dict[Pending, None]] = defaultdict(dict)

    def put(self, pending: Pending, due_s: float) -> None:
        """Have *pending* looked at in the step of *due_s*, seconds on the gateway's clock."""
        pending.due = step = int(due_s / STEP_S)
        self._steps[step][pending] = None

    def remove(self, pending: Pending) -> None:
        """Have it looked at no more."""
        due = self._steps.get(pending.due)
        if due is not None:
            due.pop(pending, None)
            if not due:
                del self._steps[pending.due]

    def take(self, now_s: float) -> list[Pending]:
        """Those whose step has come; each is put again, or looked at no more."""
        last = int(now_s / STEP_S)
        # All are due within a second or so: there is a handful of steps.
        steps = sorted(step for step in self._steps if step <= last)
        return [pending for step in steps for pending in self._steps.pop(step)]


class PendingTable:
    """All pending requests of one gateway process.

    Attributes:
        payload_bytes: of all of them.
        begun: how many there have been.
        overdue: how many requests of a stage were late; whoever looks at them takes them out.
        counters: what became of requests that only this process sees.
    """

    def __init__(
        self,
        queue: Queue,
        gateway: str,
        sink: JobSink,
        clock: Clock = monotonic,
        read_through: ReadThrough | None = None,
    ) -> None:
        """*gateway*: the boot id, to which replies are addressed; *sink*: where most jobs go.

        Args:
            read_through: how far replies have been read; None where nobody reads any.
        """
        self._queue = queue
        self._read_through = read_through
        self._sink = sink
        self._chunks = Chunks(queue)
        self._gateway = gateway
        self._clock = clock
        self._pending: dict[str, Pending] = {}
        self._due = DueTimes()
        self._in_flight: Counter[StageRef] = Counter()
        self._later: Counter[StageRef] = Counter()
        self._begun = asyncio.Event()
        self._ids = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.payload_bytes = self.begun = 0
        self.overdue: Counter[StageRef] = Counter()
        self.counters = GatewayCounters()
        self._submission = Submission(
            self._pending, self._in_flight, self.next_id, self.counters, clock, self._all_read
        )
        self._reconciliation = Reconciliation(
            queue, self._pending, self._submission.put_right, clock
        )

    def __len__(self) -> int:
        return len(self._pending)

    def __repr__(self) -> str:
        return f"PendingTable({len(self)} waiting, {self.payload_bytes} bytes)"

    def next_id(self) -> str:
        """A job id that nobody else has."""
        return f"{self._gateway}-{next(self._ids):x}"

    async def until_another(self, begun: int = -1) -> None:
        """Wait until a request waits, and more than *begun* have been here."""
        while self.begun == begun or not self._pending:
            self._begun.clear()
            await self._begun.wait()

    def waiting_for(self, ref: StageRef) -> int:
        """How many requests wait for jobs that began in *ref*."""
        return self._in_flight[ref] + self._later[ref]

    def refs(self) -> list[StageRef]:
        """The stages that jobs began in which requests wait for."""
        return [ref for ref, count in self._in_flight.items() if count]

    def stages(self) -> set[StageRef]:
        """The stages that jobs began in which requests wait for, and those of their later steps."""
        waiting = (*self._in_flight.items(), *self._later.items())
        return {ref for ref, count in waiting if count}

    def give_up(self, failures: Mapping[StageRef, PenstockError]) -> None:
        """End the requests that wait for these stages, each with the error of its stage."""
        for pending in list(self._pending.values()) if failures else ():
            job = pending.job
            error = next((failures[ref] for ref in (job.ref, *job.later) if ref in failures), None)
            if error is not None and not pending.answer.done():
                # An error of its own: it keeps the frames that it passes.
                pending.answer.set_exception(type(error)(str(error)))
                self._cancel(pending)

    def models(self) -> set[str]:
        """The models that requests wait for."""
        return {ref.model for ref in self.stages()}

    async def answer_to(
        self, job: NewJob, limits: QueueLimits, sink: JobSink | None = None
    ) -> bytes:
        """Submit *job* and wait for its reply, a serialized ModelInferResponse.

        A cancelled caller takes its job out of the queue.

        Args:
            sink: where the job goes; None for where most go.

        Raises:
            JobFailed, QueueFull, OutOfMemory, DeadlineExceeded: how it ended instead.
        """
        pending = self._opened(job, limits, sink or self._sink)
        try:
            self._submission.submit(pending)
            return await pending.answer
        except asyncio.CancelledError:
            # A client's own deadline reaches its gateway as the client's going away.
            self.overdue[job.ref] += self._clock() >= pending.ends_s - AT_THE_END_S
            self._cancel(pending)
            raise
        finally:
            self._closed(pending)

    async def parts_of(self, job: NewJob, limits: QueueLimits) -> AsyncGenerator[Part, None]:
        """As `answer_to`, for a reply in parts: each of them, and then its end without outputs.

        Raises:
            as `answer_to`; ReplyBroken: another worker went on, and not as the reply had begun.
        """
        parts = PartsInOrder()
        with self._streaming(job, limits, self._sink, parts) as pending:
            while (body := await parts.next(pending.answer)) is not None:
                yield Part(body, final=False)
                if parts.passed(body):
                    self._acknowledge(pending, parts)
            yield Part(parts.end(pending.answer.result()), final=True)

    async def tokens_of(
        self,
        job: NewJob,
        limits: QueueLimits,
        tokens: TokenLog,
        sink: JobSink | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """As `parts_of`, for an answer of a language model: its new tokens, packed as uint32.

        Whoever closes it before its end takes the job out of the queue.

        Args:
            tokens: empty; has what has come.
            sink: where the job goes; None for where most go.
        """
        with self._streaming(job, limits, sink or self._sink, tokens) as pending:
            while new := await tokens.next(pending.answer):
                yield new

    @contextlib.contextmanager
    def _streaming(
        self, job: NewJob, limits: QueueLimits, sink: JobSink, parts: PartsInOrder | TokenLog
    ) -> Iterator[Pending]:
        """A request under way whose reply comes in several *parts*, until the block ends."""
        pending = self._opened(job._replace(in_parts=True), limits, sink, parts)
        answer = pending.answer
        answer.add_done_callback(parts.wake)
        try:
            self._submission.submit(pending)
            yield pending
        except (asyncio.CancelledError, GeneratorExit):
            if not answer.done():
                self._cancel(pending)
            raise
        finally:
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # raised above, or nobody is there to hear of it
            self._closed(pending)

    def _opened(
        self,
        job: NewJob,
        limits: QueueLimits,
        sink: JobSink,
        parts: PartsInOrder | TokenLog | None = None,
    ) -> Pending:
        """A request that waits from now on, and counts as one."""
        now_s = self._clock()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        ends_s, ask_s = now_s + job.ttl_ms / 1000, now_s + ASK_AFTER_S
        pending = Pending(job, limits, ends_s, ask_s, answer, sink, parts)
        self._pending[job.id] = pending
        self.begun += 1
        self._begun.set()
        self._due.put(pending, min(ends_s, ask_s))
        self._in_flight[job.ref] += 1
        if job.later:
            self._later.update(job.later)
        self.payload_bytes += len(job.payload)
        return pending

    def _closed(self, pending: Pending) -> None:
        """It waits no more, however it ended."""
        job = pending.job
        self._pending.pop(job.id, None)
        self._due.remove(pending)
        self._in_flight[job.ref] -= 1
        if job.later:
            self._later.subtract(job.later)
        self.payload_bytes -= len(job.payload)
        pending.sink.release(job)

    def deliver_chunk(self, chunk: Chunk | LogTokens) -> None:
        """Put a part of a reply where its request waits for it, if any does still."""
        pending = self._pending.get(chunk.job)
        if pending is None or pending.answer.done():
            return
        parts = pending.parts
        try:
            if isinstance(parts, TokenLog) and isinstance(chunk, LogTokens):
                parts.put(chunk)
            elif isinstance(parts, PartsInOrder) and isinstance(chunk, Chunk) and parts.put(chunk):
                self._acknowledge(pending, parts)
        except ReplyBroken as error:
            pending.answer.set_exception(error)
            self._cancel(pending)

    def deliver(self, reply: Reply) -> None:
        """End the request that waits for *reply*; nobody may, when it was cancelled or repeated."""
        pending = self._pending.get(reply.job)
        if pending is not None:
            if not pending.answer.done():
                self._submission.end(pending, reply)
        elif " " in reply.job:
            # A shared reply comes once for all who wait for it here; it names them in one word.
            for name in reply.job.split(" "):
                self.deliver(reply._replace(job=name))

    async def run(self) -> None:
        """End what is overdue, and ask for what has waited long; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self.until_another()
                await asyncio.sleep(STEP_S)
                # In tasks of their own: a store that is silent must not hold up a deadline.
                for asking in self._reconciliation.questions(self._look(), self.models()):
                    tasks.create_task(asking)

    def _look(self) -> list[Pending]:
        """End what is overdue; returns the requests whose jobs are to be asked for."""
        now_s, to_ask = self._clock(), list[Pending]()
        for pending in self._due.take(now_s):
            if pending.answer.done():
                continue
            if pending.ends_s <= now_s:
                self.overdue[pending.job.ref] += 1
                late = "the deadline passed while the request was queued or computed"
                pending.answer.set_exception(DeadlineExceeded(late))
                self._cancel(pending)
                continue
            if pending.ask_s <= now_s:
                to_ask.append(pending)
            self._due.put(pending, min(pending.ends_s, max(pending.ask_s, now_s + STEP_S)))
        return to_ask

    def _all_read(self, job: NewJob, until_s: float) -> bool:
        tags = {self._queue.keys_of(model).tag for model in job.models}
        return self._read_through is None or self._read_through.covers(tags, until_s)

    async def close(self) -> None:
        """Wait for commands to the queue that are on their way."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    def _acknowledge(self, pending: Pending, parts: PartsInOrder) -> None:
        """Let the worker hear how much of its reply has been passed on."""
        model, job = pending.job.ref.model, pending.job.id
        self._see_to(self._chunks.ack(model, job, parts.passed_on, parts.passed_bytes))

    def _cancel(self, pending: Pending) -> None:
        first, *later = pending.job.models
        self._see_to(pending.sink.cancel(first, pending.job.id, *later))

    def _see_to(self, command: Awaitable[object]) -> None:
        task = asyncio.create_task(_tried(command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _tried(command: Awaitable[object]) -> None:
    try:
        await command
    except PenstockError as error:
        log.debug("a command failed, the deadline will end the job", error=str(error))
