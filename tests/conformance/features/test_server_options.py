"""Options of the gRPC server by Triton's names: restricted protocols, compressed replies, pings."""

import asyncio
import contextlib

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from support.models.onnx_models import write_identity
from support.processes.canaries import PLANTED
from support.processes.cluster import Cluster
from tritonclient.utils import InferenceServerException

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub

SECRET = {"triton-grpc-protocol-admin": f"{PLANTED}of-a-rule"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A cluster with restricted protocols that compresses its replies, in two processes."""
    models = tmp_path_factory.mktemp("guarded-models")
    write_identity(models, "identity", "FP32", batch=False)
    one = Cluster(
        tmp_path_factory.mktemp("guarded-cluster"),
        models,
        *("--processes", "2"),
        environment={
            "PENSTOCK_GRPC_RESTRICTED_PROTOCOL": (
                f"model-config,inference:admin={PLANTED}of-a-rule;trace:t=u"
            ),
            "PENSTOCK_GRPC_INFER_RESPONSE_COMPRESSION_LEVEL": "high",
            "PENSTOCK_GRPC_KEEPALIVE_TIME": "60000",
        },
    )
    with one.running():
        yield one


@pytest.fixture
def client(guarded):
    with triton.InferenceServerClient(guarded.url) as client:
        yield client


def zeros(count, kind=triton.InferInput):
    one = kind("input", [count], "FP32")
    one.set_data_from_numpy(np.zeros(count, np.float32))
    return one


def refusal(call, *args, **kwargs):
    with pytest.raises(InferenceServerException) as caught:
        call(*args, **kwargs)
    return caught.value.status(), caught.value.message()


RESTRICTED = (
    "StatusCode.UNAVAILABLE",
    "This protocol is restricted, expecting header 'triton-grpc-protocol-admin'",
)


def test_a_restricted_protocol_needs_its_header(client):
    assert refusal(client.get_model_config, "identity") == RESTRICTED
    assert refusal(client.infer, "identity", [zeros(1)]) == RESTRICTED
    wrong = {"triton-grpc-protocol-admin": "guessed"}
    assert refusal(client.get_model_config, "identity", headers=wrong) == RESTRICTED


def test_with_its_header_it_is_served(client):
    config = client.get_model_config("identity", headers=SECRET).config

    assert config.name == "identity"
    assert client.infer("identity", [zeros(1)], headers=SECRET).as_numpy("output").shape == (1,)


def test_other_protocols_need_none(client):
    assert client.is_server_live()
    assert client.get_model_metadata("identity").name == "identity"


def test_a_restricted_stream_is_refused(guarded):
    with grpc.insecure_channel(guarded.url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.ModelStreamInfer(iter([pb.ModelInferRequest()]), timeout=20))

    assert caught.value.details() == RESTRICTED[1]


class Counter:
    """Passes on TCP connections to an address, and counts what the server says."""

    def __init__(self, address):
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self.received = 0
        self._tasks = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.append(asyncio.current_task())
        there, back = await asyncio.open_connection(self._host, self._port)
        async with contextlib.AsyncExitStack() as stack:
            for one in (writer, back):
                stack.push_async_callback(self._close, one)
            ways = (self._pass(reader, back), self._pass(there, writer, count=True))
            tasks = [asyncio.create_task(way) for way in ways]
            # A cancelled handler would be reported as an error.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass(self, source, target, *, count=False):
        while data := await source.read(65536):
            self.received += len(data) if count else 0
            target.write(data)
            await target.drain()

    async def _close(self, writer):
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
async def test_replies_are_compressed_if_the_gateway_was_told_so(guarded, algorithm):
    async with (
        Counter(guarded.url) as counter,
        triton_aio.InferenceServerClient(counter.url) as client,
    ):
        result = await client.infer(
            "identity",
            [zeros(100_000)],
            headers=SECRET,
            compression_algorithm=algorithm,
        )

    assert result.as_numpy("output").shape == (100_000,)
    assert counter.received < 100_000  # four times as many bytes as they are


async def test_replies_are_not_compressed_otherwise(models_cluster):
    text = triton_aio.InferInput("input", [1, 1], "BYTES")
    text.set_data_from_numpy(np.array([[b"x" * 100_000]], np.object_))

    async with (
        Counter(models_cluster.url) as counter,
        triton_aio.InferenceServerClient(counter.url) as client,
    ):
        await client.infer("identity_text", [text])

    assert counter.received > 100_000


async def test_clients_may_ping_as_often_as_they_like(models_cluster):
    options = [
        ("grpc.keepalive_time_ms", 100),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
    slow = pb.ModelInferRequest(model_name="slow", raw_input_contents=[np.float32(1.5).tobytes()])
    slow.inputs.add(name="seconds", datatype="FP32", shape=[1, 1])

    async with grpc.aio.insecure_channel(models_cluster.url, options) as channel:
        answer = await GRPCInferenceServiceStub(channel).ModelInfer(slow, timeout=20)

    assert answer.model_name == "slow"
