"""What is left of requests that fail: nothing, before any garbage collection."""

import asyncio
import gc
import tracemalloc
from contextlib import suppress

import grpc
import pytest
from support.probe import FIRST
from support.processes.front import VALUES, message, serving
from support.waiting import until

from penstock.clock import monotonic
from penstock.errors import Code
from penstock.gateway.limits.forecast import Forecast, QueueSample, Speed
from penstock.gateway.limits.memory import ByteBudget
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.observe.queue_samples import Waiting

MIB = 1 << 20
TIMES = 4
"""Requests of one kind, each with a MiB of payload."""


@pytest.fixture
async def front(redis_url):
    async with serving(redis_url, default_timeout_s=0.4) as one:
        yield one


@pytest.fixture
def uncollected():
    """The garbage collector does not run: only what nothing refers to is freed."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


async def status(call):
    with suppress(asyncio.CancelledError):
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return error.code().value[0]
    return Code.OK


async def left_bytes(front, ask):
    """Bytes that are held after some requests, more than after one."""
    first = await ask(front)
    await until(lambda: not len(front.gateway.delivery.pending))
    await asyncio.sleep(0)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(TIMES):
        assert await ask(front) == first
    await until(lambda: not len(front.gateway.delivery.pending))

    def left():
        return tracemalloc.get_traced_memory()[0] - before

    # What is on its way out may take a moment.
    with suppress(TimeoutError):
        await until(lambda: left() < MIB / 4, 3)
    return first, left()


async def ended(front, call, code):
    """What becomes of *call* when its worker ends it with *code*."""
    call = asyncio.ensure_future(status(call))

    async def claimed():
        return next(iter((await front.probe.claim(rows=1)).leases), None)

    await front.probe.settle(await until(claimed), code=code)
    return await call


class Kinds:
    """The ways in which a request can fail, by the code that its client is told."""

    async def succeeded_0(self, front):
        return await ended(front, front.infer(message()), Code.OK)

    async def unknown_model_5(self, front):
        return await status(front.infer(message(model="nobody")))

    async def wrong_shape_3(self, front):
        return await status(front.infer(message(shape=(2, VALUES))))

    async def damaged_3(self, front):
        return await status(front.infer(b"\xff" * MIB))

    async def client_deadline_4(self, front):
        return await status(front.infer(message(), timeout=0.2))

    async def server_deadline_4(self, front):
        return await status(front.infer(message()))

    async def failed_by_its_worker_13(self, front):
        return await ended(front, front.infer(message()), Code.INTERNAL)

    async def given_back_by_its_worker_14(self, front):
        return await ended(front, front.infer(message()), Code.UNAVAILABLE)

    async def shared_and_failed_3(self, front):
        self.keys = getattr(self, "keys", 0) + 1
        asked = message(penstock_idempotency_key=f"key-{self.keys}")
        return await ended(front, front.infer(asked), Code.INVALID_ARGUMENT)

    async def shared_and_late_4(self, front):
        return await status(front.infer(message(penstock_idempotency_key="late")))

    async def given_up_0(self, front):
        call = front.infer(message())
        await until(lambda: len(front.gateway.delivery.pending))
        call.cancel()
        return await status(call)

    async def refused_by_admission_14(self, front):
        front.gateway.inference._held = ByteBudget(MIB, "full")
        return await status(front.infer(message()))

    async def foreseen_to_be_late_8(self, front):
        waiting = Waiting(now_ms=0, jobs=9, marks=(0.0, 0.0), rows=1)
        outlook = QueueSample(waiting, Speed(jobs_per_s=1.0, batch_s=1.0))
        front.gateway.queue_watch.forecasts[FIRST] = Forecast([outlook], monotonic())
        return await status(front.infer(message()))

    async def turned_away_14(self, front):
        front.gateway.inference.draining = True
        return await status(front.infer(message()))


KINDS = [name for name in vars(Kinds) if not name.startswith("_")]


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_holds_the_payload_of_a_request_that_has_ended(front, kind):
    code, left = await left_bytes(front, getattr(Kinds(), kind))

    assert code == int(kind.rpartition("_")[2])
    assert left < MIB / 4


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("wrong", [{"model": "nobody"}, {"shape": (2, VALUES)}, {}])
async def test_nothing_holds_what_failed_within_a_stream(front, wrong):
    """The stream goes on, and its later requests find nothing of those before."""
    asked = message(**wrong)
    stream = front.stream()

    async def ask(_):
        await stream.write(asked)
        answer = pb.ModelStreamInferResponse.FromString(await stream.read())
        return bool(answer.error_message)

    failed, left = await left_bytes(front, ask)

    await stream.done_writing()
    assert failed
    assert left < MIB / 4


@pytest.mark.usefixtures("uncollected")
async def test_nothing_holds_a_stream_that_ended_with_an_error(front):
    asked = message(shape=(2, VALUES))

    async def ask(front):
        for _ in range(100):
            stream = front.stream(metadata=(("triton_grpc_error", "true"),))
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await stream.write(asked)
                await stream.write(asked)
                await stream.read()
            # Its client's own failure, where the stream ends between those two.
            if await stream.details() != "Internal error from Core":
                return await stream.code()
        raise AssertionError("the client fails by itself each time")

    code, left = await left_bytes(front, ask)

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert left < MIB / 4
