"""A gateway that is told to stop: nobody who calls it then is left without a word."""

import asyncio
from collections import Counter

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.clients.load import digit_request, eventually
from support.models.onnx_models import PATIENT, slow_request, write_accumulator, write_slow
from support.models.repositories import add_digits
from support.processes.roles import gateway, serve, starting, status_of
from support.processes.stores import valkey
from support.waiting import until

from penstock.client import AsyncClient, RetryPolicy
from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
)
GATEWAYS, CALLERS = 5, 16
LENGTH = 60


@pytest.fixture(scope="module")
def role(tmp_path_factory):
    """Starts gateways beside all else that serves `digits`, `accumulator` and `slow`."""
    folder = tmp_path_factory.mktemp("leaving")
    write_accumulator(folder / "models", batching=PATIENT)
    write_slow(folder / "models")
    add_digits(folder / "models", "digits", "1", "2")
    with valkey() as store, starting(folder, store.url) as start:
        serve(start, folder / "models")
        yield start


async def test_callers_that_never_pause_hear_of_it(role):
    """gRPC's own stop would end some of their calls as CANCELLED, which no caller repeats."""
    leaving = await asyncio.gather(*(gateway(role) for _ in range(GATEWAYS)))
    answered, codes, over = Counter(), set(), asyncio.Event()

    async def ask(url):
        # Each on a connection of its own.
        alone = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(url, options=alone) as channel:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)
            while not over.is_set():
                try:
                    await stub.ModelInfer(digit_request(0), timeout=30)
                    answered[url] += 1
                except grpc.aio.AioRpcError as error:
                    codes.add(error.code())
                    await asyncio.sleep(0.002)

    asking = [asyncio.create_task(ask(url)) for _, url in leaving for _ in range(CALLERS)]
    await until(lambda: all(answered[url] > 2 * CALLERS for _, url in leaving), 30)
    statuses = await asyncio.gather(*(one.stop() for one, _ in leaving))
    over.set()
    await asyncio.gather(*asking)

    assert statuses == [0] * GATEWAYS
    assert codes == {grpc.StatusCode.UNAVAILABLE}


async def test_steps_of_sequences_go_on_when_it_is_back(role):
    """A step is repeated only where it was certainly not taken, so none may be on its way then."""
    leaving, url = await gateway(role)
    done, sums = [], {}

    async def run(sequence):
        sums[sequence] = []
        for place in range(LENGTH):
            answer = await client.infer(
                "accumulator",
                {"INPUT": np.int32([[place]])},
                parameters={
                    "sequence_id": sequence,
                    "sequence_start": place == 0,
                    "sequence_end": place == LENGTH - 1,
                },
            )
            sums[sequence].append(int(answer["OUTPUT"][0, 0]))
            done.append(sequence)
            # As they come from elsewhere: not all at once.
            await asyncio.sleep(0.002 * sequence)

    async with AsyncClient(url, retry=RetryPolicy(attempts=100, longest_delay_s=0.2)) as client:
        running = asyncio.gather(*(run(sequence) for sequence in range(1, 17)))
        for _ in range(2):
            seen = len(done)
            await until(lambda seen=seen: running.done() or len(done) > seen + 100, 30)
            assert not running.done(), running.exception()
            assert await leaving.stop() == 0
            leaving, _ = await gateway(role, port=url.rpartition(":")[2])
        await running

    right = np.cumsum(range(LENGTH)).tolist()
    assert sums == dict.fromkeys(range(1, 17), right)


async def test_all_who_watch_its_health_hear_of_it(role):
    leaving, url = await gateway(role)
    async with grpc.aio.insecure_channel(url) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watching = [
            stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=60)
            for name in ("", SERVICE, SERVICE)
        ]
        assert [(await watch.read()).status for watch in watching] == [SERVING] * 3
        # One that leaves takes nobody along.
        watching.pop().cancel()
        stopping = asyncio.create_task(leaving.stop())

        assert [(await watch.read()).status for watch in watching] == [NOT_SERVING] * 2
        assert await stopping == 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watching[0].read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_what_takes_longer_than_it_waits_is_cut_off_and_leaves_the_queue(role):
    _, other = await gateway(role)
    leaving, url = await gateway(role, "--drain-s", "0.2")
    async with grpc.aio.insecure_channel(url) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        held = asyncio.ensure_future(stub.ModelInfer(slow_request(1.5), timeout=60))
        await eventually(lambda: _counted(other, "accepted"))
        assert await leaving.stop() == 0

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await held

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "took longer than --drain-s and were cut off" in leaving.log.read_text()
    await eventually(lambda: _counted(other, "cancelled"))


async def _counted(url, what):
    versions = (await status_of(url)).versions
    (counts,) = [version.counts for version in versions if version.model == "slow"]
    return getattr(counts, what) == 1
