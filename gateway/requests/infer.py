"""Answers one request, bytes in and bytes out: read, checked, admitted, queued, waited for.

An answer comes in one piece (`infer`), or in parts, which only a stream takes (`responses`). The
request's bytes go into the queue as they came; only typed contents are rewritten.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from typing import Final

from penstock.clock import NO_DEADLINE, Deadline, bounded_ms, bounded_ms_of_us, monotonic
from penstock.errors import (
    Code,
    InvalidRequest,
    JobFailed,
    Overloaded,
    PenstockError,
    QueueFull,
    ShuttingDown,
    Unimplemented,
)
from penstock.gateway.delivery.delivery import Delivery
from penstock.gateway.limits import admission
from penstock.gateway.limits.memory import ByteBudget
from penstock.gateway.limits.queue_watch import QueueWatch
from penstock.gateway.models.catalog import ModelUnloaded
from penstock.gateway.models.on_demand import OnDemand
from penstock.gateway.operations.tracing import MARK, Trace, Tracing
from penstock.gateway.replies.shared import Sharing, with_id
from penstock.gateway.requests.call import Call
from penstock.gateway.requests.idempotency import METADATA, key_of, metadata_key, refuse_of_many
from penstock.gateway.requests.kinds.sequences import controls_of, turn_of
from penstock.gateway.requests.language.answer import joined
from penstock.gateway.requests.language.languages import Language, Languages
from penstock.gateway.requests.language.resuming import Resuming, refuse_to_resume
from penstock.gateway.requests.reading import Asked, Reading, taken_apart
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.protos.wire import Buffer
from penstock.retry import Pushback
from penstock.scheduler.jobs.enqueue import FULL
from penstock.scheduler.jobs.shared_replies import Shared
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.requests import refusal_texts
from penstock.scheduler.requests.checks import Admitted
from penstock.scheduler.requests.counters import REFUSED_FULL, REFUSED_LATE
from penstock.scheduler.requests.parts import Part

_ONE_ANSWER: Final = "ModelInfer RPC doesn't support models with decoupled transaction policy"


class ManyAnswers(Unimplemented):
    """One answer was asked for of a model that gives any number."""


@dataclass(frozen=True, slots=True)
class Extensions:
    """What a request may need besides a queue.

    Attributes:
        tracing: decides which requests are traced.
        queue_watch: foresees which requests would be late.
        sharing: replies that several requests have.
        on_demand: loads models that requests are for, where that is wanted.
        load_requests: where the texts of language models are kept.
    """

    tracing: Tracing
    queue_watch: QueueWatch
    sharing: Sharing
    on_demand: OnDemand
    load_requests: LoadRequests


class Inference:
    """Answers inference requests through the queue.

    Attributes:
        draining: new requests are turned away, those in flight go on.
        on_demand: loads models that requests are for, where that is wanted.
    """

    def __init__(
        self,
        reading: Reading,
        delivery: Delivery,
        gateway: str,
        held: ByteBudget,
        default_timeout_s: float,
        extensions: Extensions,
    ) -> None:
        """*held*: bytes of requests, from their arrival to their end."""
        self._reading = reading
        self._queue, self._pending = delivery.queue, delivery.pending
        self._gateway = gateway
        self._held = held
        self._default_timeout_s = default_timeout_s
        self.draining = False
        self._tracing = extensions.tracing
        self._queue_watch = extensions.queue_watch
        self._sharing = extensions.sharing
        self._languages = Languages(extensions.load_requests)
        self._resuming = Resuming(self._languages, self._sharing, self._pending.deliver_chunk)
        self.on_demand = extensions.on_demand
        self._pushback = Pushback(admission.LEAST_PUSHBACK_MS, admission.LONGEST_PUSHBACK_MS)

    def hold(self, message: Buffer) -> AbstractContextManager[None]:
        """Count the bytes of *message* among those of requests that have not ended.

        Raises:
            GatewayFull: there is no room for them.
        """
        return self._held.hold(len(message))

    async def infer(self, message: Buffer, call: Call) -> bytes:
        """Answer a serialized ModelInferRequest with a serialized ModelInferResponse.

        Raises:
            ManyAnswers: its model is decoupled, so that one answer is not to be had.
            PenstockError: how it ended instead.
        """
        with self.hold(message):
            asked = await self.read(message, call)
            if asked.served.language:
                return await self.whole(asked)
            if asked.served.decoupled:
                raise ManyAnswers(_ONE_ANSWER)
            return await self.answer(asked)

    async def read(self, message: Buffer, call: Call) -> Asked:
        """What a request asks for, once its model is loaded; `answer` or `responses` goes on.

        Args:
            message: as it came from the client.

        Raises:
            PenstockError: it is damaged, or no model takes it.
        """
        if call.deadline is NO_DEADLINE:
            call = Call(Deadline.after(self._default_timeout_s), *call[1:])
        if self._tracing.on:
            call = call._replace(arrived_ns=time.time_ns())
        parts = taken_apart(message)
        if (known := self._reading.known_by_head(message, parts, call)) is not None:
            return known
        while True:
            try:
                return await self._reading.read(message, parts, call)
            except ModelUnloaded as error:
                # Without its way here, of which this frame is a part: they would keep each other.
                missing = error.with_traceback(None)
            if self.draining:
                raise ShuttingDown(admission.SHUTTING_DOWN)
            await self.on_demand.load(missing, call.deadline)

    def text_models(self) -> list[str]:
        """The names of the models that answer with text, or make embeddings of it."""
        return self._reading.text_models()

    async def language_of(self, model: str, call: Call) -> Language:
        """What makes tokens of text for *model*, and text of its tokens, once it is loaded.

        Raises:
            PenstockError: there is no such model for the caller, or it is no language model.
        """
        probe = ModelInferRequest(model_name=model).SerializeToString()
        served = (await self.read(probe, call)).served
        if not served.language:
            raise InvalidRequest(f"'{model}' is no language model: ask it by another API")
        return await self._languages.of(served)

    async def input_of(self, message: Buffer, call: Call) -> str:
        """What was kept as the input of the answer that a request names; see `Resuming`."""
        return await self._resuming.input_of(await self.read(message, call))

    async def answer(self, asked: Asked) -> bytes:
        """The serialized ModelInferResponse.

        Raises:
            PenstockError: how it ended instead.
        """
        admitted = asked.admitted
        if admitted is None:
            asked, admitted = await self._reading.checked(asked)
        served, request_id = asked.served, asked.parts.id
        remaining_s = self._admit(asked)
        shared, trace = self._shared(asked, admitted), None
        # A shared reply may be there already, and its job is nobody's own.
        if shared is None:
            self._join(served.ref, request_id, admitted.priority, remaining_s)
            trace = self._traced(asked)
        limits = served.limits_for(len(asked.message), admitted.priority)
        job = _placed(self._job(asked, admitted, remaining_s, trace), asked)
        answering = self._answer_to(job, limits, asked, shared)
        reply = await (answering if trace is None else trace.follow(answering))
        if admitted.classes is not None or asked.places:
            reply = await self._reading.as_asked(reply, asked, admitted)
        return reply

    async def whole(self, asked: Asked) -> bytes:
        """The whole answer of a language model as one serialized ModelInferResponse.

        Raises:
            PenstockError: how it ended instead.
        """
        async with aclosing(self.responses(asked)) as parts:
            return joined([part.body async for part in parts if not part.final])

    async def responses(self, asked: Asked) -> AsyncGenerator[Part, None]:
        """Answer a request for a decoupled model.

        Raises:
            PenstockError: how it ended instead, after the responses before.
        """
        if asked.request.parameters:
            refuse_of_many(asked.request)
        asked, admitted = await self._reading.checked(asked)
        if asked.places:
            raise refusal_texts.shared_memory_of_many()
        remaining_s, trace = self._admit(asked), self._traced(asked)
        job = _placed(self._job(asked, admitted, remaining_s, trace), asked)
        if asked.served.language:
            parts = self._texts_of(job, asked)
        else:
            refuse_to_resume(asked.request)
            parts = self._parts_of(job, asked)
        async with aclosing(parts if trace is None else trace.follow_all(parts)) as followed:
            async for part in followed:
                body = part.body
                if not part.final and admitted.classes is not None:
                    body = await self._reading.as_asked(body, asked, admitted)
                yield Part(body, part.final)

    def _job(
        self, asked: Asked, admitted: Admitted, remaining_s: float, trace: Trace | None
    ) -> NewJob:
        job = NewJob(
            id=self._pending.next_id(),
            gateway=self._gateway,
            ref=asked.served.ref,
            priority=admitted.priority,
            rows=admitted.rows,
            ttl_ms=bounded_ms(remaining_s),
            begin_within_ms=bounded_ms_of_us(admitted.timeout_us),
            payload=asked.message,
            caller=asked.call.caller.name,
        )
        return job if trace is None else job.followed_by(MARK)

    def _shared(self, asked: Asked, admitted: Admitted) -> Shared | None:
        """The reply that the request shares with others; None for one of its own."""
        served, request = asked.served, asked.request
        metadata = asked.call.metadata
        if not (served.cached or request.parameters or _is_keyed(metadata)):
            return None
        refuse_to_resume(request)
        key = key_of(request, metadata_key(metadata))
        if key is None and (not served.cached or admitted.wants_path):
            return None
        return self._sharing.of(served, request, asked.raws, key, asked.call.caller.name)

    async def _answer_to(
        self, job: NewJob, limits: QueueLimits, asked: Asked, shared: Shared | None
    ) -> bytes:
        order = asked.served.order
        try:
            sink = None
            if shared is not None:
                job, sink = self._sharing.opened(job, shared)
            answering = self._pending.answer_to(job, limits, sink)
            if order is not None:
                answering = order.keep(answering, Deadline.after(job.ttl_ms / 1000))
            reply = await answering
            return reply if shared is None else with_id(reply, asked.parts.id)
        except (QueueFull, JobFailed) as error:
            raise self._ended(error, asked) from error

    async def _parts_of(self, job: NewJob, asked: Asked) -> AsyncGenerator[Part, None]:
        try:
            limits = asked.served.limits_for(len(job.payload), job.priority)
            async with aclosing(self._pending.parts_of(job, limits)) as parts:
                async for part in parts:
                    yield part
        except (QueueFull, JobFailed) as error:
            raise self._ended(error, asked) from error

    async def _texts_of(self, job: NewJob, asked: Asked) -> AsyncGenerator[Part, None]:
        """The parts of a language model's answer."""
        opened = await self._resuming.open(asked, job)
        job, tokens, sink = opened.job, opened.log, opened.sink
        try:
            limits = asked.served.limits_for(len(job.payload), job.priority)
            async with (
                aclosing(self._pending.tokens_of(job, limits, tokens, sink)) as log,
                aclosing(opened.parts(log, self._pending.counters)) as parts,
            ):
                async for part in parts:
                    yield part
        except (QueueFull, JobFailed) as error:
            raise self._ended(error, asked) from error

    def _ended(self, error: QueueFull | JobFailed, asked: Asked) -> PenstockError:
        """*error*, as the client is told of it."""
        served, text = asked.served, str(error)
        if text == FULL:
            text = f"[request id: {asked.parts.id or '<id_unknown>'}] {text}"
        if served.route is not None:
            text = served.route.reworded(text)
        if isinstance(error, QueueFull):
            self._pending.counters.count(served.ref, REFUSED_FULL)
            full = QueueFull(text)
            full.retry_after_ms = self._pushback.next_ms()
            return full
        failed = JobFailed(error.code, text)
        if error.code is Code.UNAVAILABLE:
            # Any gateway would have given it to the same workers.
            failed.retry_after_ms = self._pushback.next_ms()
        return failed

    def _traced(self, asked: Asked) -> Trace | None:
        if not self._tracing.on:
            return None
        call = asked.call
        return self._tracing.begin(asked.served.id, asked.parts.id, call.arrived_ns, call.caller)

    def _join(self, ref: StageRef, request_id: str, priority: int, remaining_s: float) -> None:
        """Count the request in its queue's forecast, where there is one."""
        forecast = self._queue_watch.forecasts.get(ref)
        if forecast is None:
            return
        try:
            admission.join(forecast, request_id, priority, remaining_s, monotonic())
        except Overloaded:
            self._pending.counters.count(ref, REFUSED_LATE)
            raise

    def _admit(self, asked: Asked) -> float:
        """Seconds that the request has left, if it may enter the queue now."""
        remaining_s = asked.call.deadline.remaining_s()
        down_s = self._queue.link_of(asked.served.ref.model).down_for_s()
        if self.draining or down_s or remaining_s <= 0:
            refused = admission.refusal(admission.Situation(self.draining, down_s), remaining_s)
            if refused is not None:
                raise refused
        return remaining_s


def _is_keyed(metadata: Sequence[tuple[str, str | bytes]]) -> bool:
    # A loop, since that takes half of the time of `any`, for each request.
    for name, _ in metadata:  # noqa: SIM110
        if name == METADATA:
            return True
    return False


def _placed(job: NewJob, asked: Asked) -> NewJob:
    """*job*, in its sequence or on its ensemble's route, where the model has either."""
    plan, route = asked.served.sequences, asked.served.route
    if plan is not None:
        # With what its model is told of its place.
        turn = turn_of(asked.request, job.rows, plan, asked.call.caller.name)
        return job.followed_by(controls_of(turn, plan))._replace(turn=turn)
    return job if route is None else route.placed(job, asked.request)
