"""Requests that take long: legal ones harm nobody, and those without an end are ended."""

import asyncio

import grpc
import pytest
from support.clients.load import eventually
from support.models.onnx_models import slow_request, write_slow
from support.processes.roles import gateway, serve, starting, status_of, workers_in

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc


@pytest.fixture
def role(tmp_path, redis_url):
    with starting(tmp_path, redis_url) as start:
        yield start


async def test_a_model_stays_ready_while_one_of_its_requests_takes_long(role, tmp_path):
    """A loop that many quick requests went through before, and that now runs for seconds."""
    write_slow(tmp_path / "models")
    serve(role, tmp_path / "models")
    _, url = await gateway(role)
    looks = []
    async with grpc.aio.insecure_channel(url) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(300):
            await stub.ModelInfer(slow_request(0.0))
        long = asyncio.create_task(_answer(stub, 6.0))
        while not long.done():
            looks.append((await stub.ModelReady(pb.ModelReadyRequest(name="slow"))).ready)
            await asyncio.sleep(0.05)
        await long

    (worker,) = workers_in(await status_of(url))
    assert all(looks)
    assert worker.restarts == 0


async def test_a_batch_beyond_the_limit_ends_its_worker_and_is_set_aside(role, tmp_path):
    """What waits behind it is answered."""
    write_slow(tmp_path / "models")
    models = ("--models", str(tmp_path / "models"))
    role("scheduler", *models)
    role("node", *models, "--run-limit-s", "1", "--lease-ms", "600")
    _, url = await gateway(role)
    async with grpc.aio.insecure_channel(url) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        endless = asyncio.create_task(_answer(stub, 600.0))
        await eventually(lambda: _restarts(url))
        quick = await _answer(stub, 0.0)
        with pytest.raises(grpc.aio.AioRpcError, match="ended its worker 2 times"):
            await endless

    assert quick.raw_output_contents


async def _answer(stub, seconds):
    return await stub.ModelInfer(slow_request(seconds), timeout=90)


async def _restarts(url):
    workers = workers_in(await status_of(url))
    return any("--run-limit-s" in one.reason or one.restarts for one in workers)
