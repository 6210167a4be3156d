"""Redis goes away for longer than anybody likes to wait."""

import os
import signal

import grpc
import pytest
from support.clients.load import Load, digit_request, eventually

from penstock.protos import grpc_service_pb2_grpc as pb_grpc
from penstock.scheduler.store.keys import PartitionKeys

CLIENTS = 16
LIVE = PartitionKeys(0).deadline


@pytest.fixture
def digits(cluster, onnx_digits, store):
    return cluster(onnx_digits, "--redis", store.url)


async def test_calls_end_by_their_deadlines_and_answers_return_with_the_store(digits, store):
    deadline_s = 3.0
    async with Load(digits.url, deadline_s=deadline_s) as load:
        store.kill()
        # Held at first, then refused: nobody is left to hang.
        await eventually(lambda: load.answers.failed > 200)
        store.start()
        await load.more(200)

    kinds = {error.partition(":")[0] for error in load.answers.errors}
    assert kinds <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert load.answers.longest_s < deadline_s + 1
    assert load.answers.wrong == 0


async def test_a_refusal_says_what_is_away_and_when_to_come_back(digits, store):
    store.kill()
    async with grpc.aio.insecure_channel(digits.url) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)

        async def refused():
            try:
                await stub.ModelInfer(digit_request(0), timeout=1)
            except grpc.aio.AioRpcError as error:
                return error if error.code() is grpc.StatusCode.UNAVAILABLE else None

        refusal = await eventually(refused)
    store.start()

    assert "the queue cannot be reached" in refusal.details()
    assert int(dict(refusal.trailing_metadata())["grpc-retry-pushback-ms"]) > 0


async def test_a_store_that_lost_everything_serves_again(digits, store):
    """Requests that wait in it are queued again: here all of them, since no worker runs."""
    workers = digits.processes()["worker"]
    async with Load(digits.url, deadline_s=20.0, clients=CLIENTS) as load:
        await load.more(1)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        await eventually(lambda: store.command(f"ZCARD {LIVE}") == f":{CLIENTS}".encode())
        store.command("FLUSHALL")
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        await load.more(300)

    assert load.answers.wrong == 0
    assert load.answers.failed == 0, load.answers.errors
