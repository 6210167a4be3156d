"""Inference: bytes, metadata and a deadline in, bytes out. No gRPC types here.

The request's bytes go into the queue as they came; only typed contents are rewritten.
"""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from penstock.clock import Deadline, bounded_ms, bounded_ms_of_us, monotonic
from penstock.errors import (
    Code,
    JobFailed,
    Overloaded,
    PenstockError,
    QueueFull,
    ShuttingDown,
)
from penstock.gateway.delivery.counters import REFUSED_FULL, REFUSED_LATE
from penstock.gateway.delivery.pending import PendingTable
from penstock.gateway.limits import admission
from penstock.gateway.limits.memory import ByteBudget
from penstock.gateway.limits.queue_watch import Lookout
from penstock.gateway.models.catalog import Catalog, ModelUnloaded, Served
from penstock.gateway.models.on_demand import Demand
from penstock.gateway.offload import Offload
from penstock.gateway.operations.tracing import MARK, Trace, Tracing
from penstock.gateway.replies.idempotency import key_of, refuse_of_many
from penstock.gateway.replies.shared import Sharing, with_id
from penstock.gateway.requests import refusal_texts
from penstock.gateway.requests.check_cache import Familiar
from penstock.gateway.requests.checks import Admitted
from penstock.gateway.requests.kinds.decoupled import Asked, Decoupled, Part
from penstock.gateway.requests.kinds.ensembles import EnsembleRoute
from penstock.gateway.requests.kinds.sequences import SequenceRules
from penstock.gateway.requests.reading import Reading, taken_apart
from penstock.gateway.requests.shared_memory.regions import Regions
from penstock.gateway.requests.shared_memory.tensors import Place, put, uses_regions
from penstock.protos import wire
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.retry import Pushback
from penstock.scheduler.jobs.enqueue import FULL
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.shared_replies import Shared
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.store.keys import StageRef


@dataclass(frozen=True, slots=True)
class InferenceLimits:
    """What a gateway allows.

    Attributes:
        pending: bytes of requests, from their arrival to their end.
    """

    default_timeout_s: float
    pending: ByteBudget


@dataclass(frozen=True, slots=True)
class Extensions:
    """Parts of the protocol that a gateway may do without.

    Attributes:
        lookout: foresees which requests would be late.
        sharing: replies that several requests have.
        regions: shared memory of clients; None where they may not use it.
    """

    tracing: Tracing
    lookout: Lookout
    sharing: Sharing
    regions: Regions | None = None


class Inference:
    """Answers inference requests through the queue.

    Attributes:
        draining: new requests are turned away, those in flight go on.
        tracing: decides which requests are traced.
        regions: shared memory of clients; None where they may not use it.
        demand: loads models that requests are for, where that is wanted.
    """

    def __init__(
        self,
        catalog: Catalog,
        queue: Queue,
        pending: PendingTable,
        gateway: str,
        limits: InferenceLimits,
        extensions: Extensions,
        demand: Demand,
    ) -> None:
        self._catalog = catalog
        self._queue = queue
        self._pending = pending
        self._gateway = gateway
        self._limits = limits
        self.draining = False
        self.tracing = extensions.tracing
        self.regions = extensions.regions
        self._lookout = extensions.lookout
        self._sharing = extensions.sharing
        self.demand = demand
        self._familiar = Familiar(catalog)
        self._reading = Reading(Offload())
        self._pushback = Pushback(admission.LEAST_PUSHBACK_MS, admission.LONGEST_PUSHBACK_MS)

    async def infer(
        self, message: bytes, remaining_s: float | None, key: str | None = None
    ) -> bytes:
        """Answer a serialized ModelInferRequest with a serialized ModelInferResponse.

        Args:
            message: as it came from the client.
            remaining_s: to the client's deadline; None without one.
            key: the request's idempotency key, from the call's metadata; None without one.

        Raises:
            Decoupled: its model answers through `responses` only.
            PenstockError: how it ended instead.
        """
        size = len(message)
        self._limits.pending.take(size)
        try:
            return await self._infer(message, remaining_s, key)
        finally:
            self._limits.pending.give(size)

    async def _infer(self, message: bytes, remaining_s: float | None, key: str | None) -> bytes:
        arrived_ns = time.time_ns() if self.tracing.on else 0
        if remaining_s is None:
            remaining_s = self._limits.default_timeout_s
        parts = taken_apart(message)
        known = self._familiar.find(parts)
        if known is None:
            asked, admitted = await self._check(message, parts, remaining_s, arrived_ns)
        else:
            request, served, admitted, _ = known
            asked = Asked(message, request, parts.raws, {}, served, remaining_s, arrived_ns)
        return await self._answer(asked, admitted, parts.id, key)

    async def _check(
        self, message: bytes, parts: wire.Apart, remaining_s: float, arrived_ns: int
    ) -> tuple[Asked, Admitted]:
        """What is asked, once its model is loaded.

        Raises:
            Decoupled, PenstockError: as `infer`.
        """
        request = await self._reading.request(parts)
        raws: Sequence[wire.Buffer] = parts.raws
        places: Mapping[str, Place] = {}
        in_regions = uses_regions(request)
        if self.regions is not None and in_regions:
            taken = await self._reading.taken(request, parts, self.regions)
            message, raws, places = taken.message, taken.raws, taken.places
        try:
            served = self._catalog.served(request.model_name, request.model_version)
        except ModelUnloaded as missing:
            served, remaining_s = await self._once_loaded(missing, request, remaining_s)
        asked = Asked(message, request, raws, places, served, remaining_s, arrived_ns)
        if served.decoupled:
            raise Decoupled(asked)
        asked, admitted = await self._reading.admitted(asked)
        if not in_regions:
            self._familiar.meet(parts, request, served, admitted)
        return asked, admitted

    async def _answer(self, asked: Asked, admitted: Admitted, id_: str, key: str | None) -> bytes:
        message, request, raws, places, served, remaining_s, arrived_ns = asked
        self._check_admission(served.ref.model, remaining_s)
        shared = None
        if key is not None or served.cached or request.parameters:
            shared = self._shared(served, admitted, request, raws, key)
        trace = None
        # A shared reply may be there already, and its job is nobody's own.
        if shared is None:
            self._join(served.ref, id_, admitted.priority, remaining_s)
            trace = self._traced(served, id_, arrived_ns)
        payload = message if trace is None else message + MARK
        job = self._job(served.ref, admitted, payload, remaining_s)
        job = _placed(job, served, request)
        answering = self._answer_to(job, served, id_, shared)
        reply = await (answering if trace is None else trace.follow(answering))
        if admitted.classes is not None or places:
            reply = await self._as_asked(reply, asked, admitted)
        return reply

    async def _as_asked(self, reply: bytes, asked: Asked, admitted: Admitted) -> bytes:
        """*reply* with classes in place of outputs, or without those that go into regions."""
        reply = await self._reading.classified(reply, asked, admitted)
        if asked.places and self.regions is not None:
            reply = put(reply, asked.places, self.regions)
        return reply

    async def responses(self, asked: Asked) -> AsyncGenerator[Part, None]:
        """Answer a request for a decoupled model.

        Raises:
            PenstockError: how it ended instead, after the responses before.
        """
        request, served = asked.request, asked.served
        if request.parameters:
            refuse_of_many(request)
        asked, admitted = await self._reading.admitted(asked)
        message = asked.message
        if asked.places:
            raise refusal_texts.shared_memory_of_many()
        self._check_admission(served.ref.model, asked.remaining_s)
        trace = self._traced(served, request.id, asked.arrived_ns)
        payload = message if trace is None else message + MARK
        job = self._job(served.ref, admitted, payload, asked.remaining_s)
        parts = self._parts_of(job, served, request.id)
        self._limits.pending.take(len(message))
        try:
            async with aclosing(parts if trace is None else trace.follow_all(parts)) as followed:
                async for part in followed:
                    body = part.body
                    if not part.final:
                        body = await self._reading.classified(body, asked, admitted)
                    yield Part(body, part.final)
        finally:
            self._limits.pending.give(len(message))

    async def _once_loaded(
        self, missing: ModelUnloaded, request: ModelInferRequest, remaining_s: float
    ) -> tuple[Served, float]:
        """Wait until the model that *request* is for is loaded; what of *remaining_s* is left."""
        ends_s = self.demand.ends_s(remaining_s)
        while True:
            if self.draining:
                raise ShuttingDown(admission.SHUTTING_DOWN)
            await self.demand.load(missing, ends_s)
            try:
                served = self._catalog.served(request.model_name, request.model_version)
            except ModelUnloaded as error:
                # Without its way here, of which this frame is a part: they would keep each other.
                missing = error.with_traceback(None)
            else:
                return served, max(0.001, ends_s - monotonic())

    def _job(self, ref: StageRef, admitted: Admitted, payload: bytes, remaining_s: float) -> NewJob:
        return NewJob(
            id=self._pending.next_id(),
            gateway=self._gateway,
            ref=ref,
            priority=admitted.priority,
            rows=admitted.rows,
            ttl_ms=bounded_ms(remaining_s),
            begin_within_ms=bounded_ms_of_us(admitted.timeout_us),
            payload=payload,
        )

    def _shared(
        self,
        served: Served,
        admitted: Admitted,
        request: ModelInferRequest,
        raws: Sequence[wire.Buffer],
        key: str | None,
    ) -> Shared | None:
        """The reply that the request shares with others; None for one of its own."""
        key = key_of(request, key)
        if key is None and (not served.cached or admitted.wants_path):
            return None
        return self._sharing.of(served, request, raws, key)

    async def _answer_to(
        self, job: NewJob, served: Served, request_id: str, shared: Shared | None = None
    ) -> bytes:
        try:
            limits = served.limits_for(len(job.payload), job.priority)
            door = None
            if shared is not None:
                job, door = self._sharing.opened(job, shared)
            answering = self._pending.answer_to(job, limits, door=door)
            if served.order is not None:
                answering = served.order.keep(answering, Deadline.after(job.ttl_ms / 1000))
            reply = await answering
            return reply if shared is None else with_id(reply, request_id)
        except (QueueFull, JobFailed) as error:
            raise self._ended(error, served, request_id) from error

    async def _parts_of(
        self, job: NewJob, served: Served, request_id: str
    ) -> AsyncGenerator[Part, None]:
        try:
            limits = served.limits_for(len(job.payload), job.priority)
            async with aclosing(self._pending.parts_of(job, limits)) as parts:
                async for part in parts:
                    yield part
        except (QueueFull, JobFailed) as error:
            raise self._ended(error, served, request_id) from error

    def _ended(
        self, error: QueueFull | JobFailed, served: Served, request_id: str
    ) -> PenstockError:
        """*error*, as the client is told of it."""
        text = str(error)
        if text == FULL:
            text = f"[request id: {request_id or '<id_unknown>'}] {text}"
        if served.route is not None:
            text = served.route.told(text)
        if isinstance(error, QueueFull):
            self._pending.tally.count(served.ref, REFUSED_FULL)
            full = QueueFull(text)
            full.retry_after_ms = self._pushback.next_ms()
            return full
        failed = JobFailed(error.code, text)
        if error.code is Code.UNAVAILABLE:
            # Any gateway would have given it to the same workers.
            failed.retry_after_ms = self._pushback.next_ms()
        return failed

    def _traced(self, served: Served, request_id: str, arrived_ns: int) -> Trace | None:
        if not self.tracing.on:
            return None
        return self.tracing.begin(served.id, request_id, arrived_ns)

    def _join(self, ref: StageRef, request_id: str, priority: int, remaining_s: float) -> None:
        """Count the request in its queue's forecast, where there is one."""
        forecast = self._lookout.forecasts.get(ref)
        if forecast is None:
            return
        try:
            admission.join(forecast, request_id, priority, remaining_s, monotonic())
        except Overloaded:
            self._pending.tally.count(ref, REFUSED_LATE)
            raise

    def _check_admission(self, model: str, remaining_s: float) -> None:
        situation = admission.Situation(self.draining, self._queue.link_of(model).down_for_s())
        refused: PenstockError | None = admission.refusal(situation, remaining_s)
        if refused is not None:
            raise refused


def _placed(job: NewJob, served: Served, request: ModelInferRequest) -> NewJob:
    """*job*, in its sequence or on its ensemble's route, where the model has either."""
    if served.sequences is not None:
        return _in_sequence(job, served.sequences, request)
    if served.route is not None:
        return _on_route(job, served.route, request)
    return job


def _in_sequence(job: NewJob, sequences: SequenceRules, request: ModelInferRequest) -> NewJob:
    """*job*, in its place in its sequence, with what its model is told of that."""
    turn = sequences.turn(request, job.rows)
    return job._replace(payload=job.payload + sequences.controls(turn), turn=turn)


def _on_route(job: NewJob, route: EnsembleRoute, request: ModelInferRequest) -> NewJob:
    return job._replace(
        rows=route.rows(request),
        payload=job.payload + route.mark,
        ensemble=route.key,
        later=route.refs[1:],
    )
