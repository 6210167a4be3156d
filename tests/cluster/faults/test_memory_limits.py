"""A gateway's memory stays within its limits, whatever clients send, and whatever they do not read.

The limit is PENSTOCK_MAX_MEMORY_MIB; all others follow from it.
"""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from support.clients import http2_abuse as raw
from support.memory import MIB, memory_of
from support.metrics import scrape
from support.models.onnx_models import write_wide
from support.processes.cluster import Cluster

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

MEMORY_MIB = 640
UNREAD_MIB = MEMORY_MIB // 4
REPLY_MIB = 8
SUCCESSES = "nv_inference_request_success"
ASIDE_MIB = 260
"""More than what is limited: a gateway's own, and what is on its way."""

COPIES = 2
"""Of each reply: the gateway's own, and gRPC's, which it sends."""

pytestmark = pytest.mark.xdist_group("memory-limits")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory-limits")
    write_wide(folder / "models", mib=REPLY_MIB)
    one = Cluster(
        folder,
        folder / "models",
        environment={"PENSTOCK_MAX_MEMORY_MIB": str(MEMORY_MIB), "PENSTOCK_LENT_PAYLOAD_MIB": "0"},
    )
    with one.running():
        yield one


@pytest.fixture
def gateway(running):
    return running.processes()["gateway"][0]


def request(model="wide", id_=""):
    asked = pb.ModelInferRequest(model_name=model, id=id_)
    asked.inputs.add(name="input", datatype="FP32", shape=[1])
    asked.raw_input_contents.append(np.float32(1).tobytes())
    return asked


@contextlib.contextmanager
def unread(url, connections, calls):
    """Connections that ask for many replies, and read none."""
    opened = [raw.Connection(url, window=0) for _ in range(connections)]
    for one in opened:
        one.read(0.1)
        for stream in range(1, 1 + 2 * calls, 2):
            one.send(
                raw.headers(stream, raw.INFER) + raw.message(stream, request().SerializeToString())
            )
    try:
        yield opened
    finally:
        for one in opened:
            one.close()


def channel(url, **more):
    options = {"max_receive_message_length": -1, "max_send_message_length": -1} | more
    options["use_local_subchannel_pool"] = 1
    return grpc.insecure_channel(url, [(f"grpc.{name}", value) for name, value in options.items()])


def answered(url, count=3, within_s=60):
    """A neighbour's calls, each of which must be answered; it comes back when it is told to."""
    ends = time.monotonic() + within_s
    with channel(url) as own:
        stub = pb_grpc.GRPCInferenceServiceStub(own)
        replies = []
        while len(replies) < count:
            try:
                reply = stub.ModelInfer(request(), timeout=60)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > ends:
                    raise
                time.sleep(0.2)
                continue
            replies.append(reply.raw_output_contents[0])
        return [len(reply) for reply in replies]


def successes(running):
    """How many requests the model has answered."""
    counts = scrape(running.metrics_url())
    return sum(value for (name, _), value in counts.items() if name == SUCCESSES)


def until(condition, seconds=60):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_replies_that_nobody_reads_stay_within_the_limit(running, gateway):
    before = successes(running)

    with memory_of(gateway) as memory, unread(running.url, connections=6, calls=20):
        until(lambda: successes(running) >= before + 120)

        assert answered(running.url) == [REPLY_MIB * MIB] * 3

    assert memory.growth_mib < COPIES * UNREAD_MIB + ASIDE_MIB


def test_answers_of_a_stream_that_nobody_reads_stay_within_the_limit(running, gateway):
    with (
        memory_of(gateway) as memory,
        contextlib.closing(raw.Connection(running.url, window=0)) as one,
    ):
        one.read(0.1)
        one.send(raw.headers(1, raw.STREAM))
        asked = request().SerializeToString()
        one.send(b"".join(raw.message(1, asked, ended=False) for _ in range(60)))
        counts = [successes(running)]

        def stands():
            """No more is computed: the stream waits for its client."""
            time.sleep(0.1)
            counts.append(successes(running))
            return counts[0] < counts[-10:][0] == counts[-1] and len(counts) > 20

        until(stands)
        answers = answered(running.url)

    assert answers == [REPLY_MIB * MIB] * 3
    assert memory.growth_mib < COPIES * UNREAD_MIB / 4 + ASIDE_MIB


def test_requests_for_a_model_that_is_not_there_stay_within_the_limit(running, gateway):
    body = request("nothing")
    body.raw_input_contents[0] = bytes(32 * MIB)
    message = body.SerializeToString()
    codes = set()

    def call(own):
        try:
            own.unary_unary(raw.INFER)(message, timeout=60)
        except grpc.RpcError as error:
            codes.add(error.code())

    with memory_of(gateway) as memory:
        with contextlib.ExitStack() as open_, ThreadPoolExecutor(60) as pool:
            channels = [open_.enter_context(channel(running.url)) for _ in range(4)]
            calls = [pool.submit(call, channels[number % 4]) for number in range(120)]
            neighbour = answered(running.url)
            for one in calls:
                one.result()

        # Freed, and given back: a limit on memory that is only counted helps nobody.
        until(lambda: memory.now() < memory.before + 150 * MIB)

    assert neighbour == [REPLY_MIB * MIB] * 3
    assert codes <= {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE}
    assert memory.most / MIB < MEMORY_MIB * 1.25
