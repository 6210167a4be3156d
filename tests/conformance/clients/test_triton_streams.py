"""Streams of Triton's own clients, unmodified: order, failures, cancellation, deadlines."""

import asyncio
import queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from support.waiting import until
from tritonclient.utils import InferenceServerException

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub

pytestmark = pytest.mark.both_fronts

UNKNOWN = "Request for unknown model: 'nothing' is not found"


class Stream:
    """A client with a stream, and the answers to it."""

    def __init__(self, client):
        self._client = client
        self._answers = queue.Queue()

    def open(self, **options):
        self._client.start_stream(
            lambda result, error: self._answers.put((result, error)), **options
        )
        return self

    def send(self, model, inputs, id_="", **options):
        self._client.async_stream_infer(model, inputs, request_id=id_, **options)

    def next(self):
        return self._answers.get(timeout=20)

    def empty(self):
        return self._answers.empty()


@pytest.fixture
def client(models_cluster):
    with triton.InferenceServerClient(models_cluster.url) as client:
        yield client
        client.stop_stream(cancel_requests=True)


@pytest.fixture
def stream(client):
    return Stream(client).open()


def tensor(name, array, datatype, kind=triton.InferInput):
    one = kind(name, list(array.shape), datatype)
    one.set_data_from_numpy(array)
    return one


def addends(number=1, kind=triton.InferInput):
    a = np.full((1, 16), number, np.int32)
    return [tensor("INPUT0", a, "INT32", kind), tensor("INPUT1", a, "INT32", kind)]


def seconds(number):
    return [tensor("seconds", np.array([[number]], np.float32), "FP32")]


def final(result):
    return result.get_response().parameters["triton_final_response"].bool_param


def successes(client, model):
    (one,) = client.get_inference_statistics(model, "1").model_stats
    return one.inference_stats.success.count


def test_answers_come_in_the_order_of_the_requests(stream):
    stream.send("slow", seconds(0.3), "slow")
    for number in range(8):
        stream.send("add_sub", addends(number), str(number))

    got = [stream.next() for _ in range(9)]

    assert [error for _, error in got] == [None] * 9
    assert [result.get_response().id for result, _ in got] == ["slow", *"01234567"]
    assert [result.as_numpy("OUTPUT0")[0, 0] for result, _ in got[1:]] == list(range(0, 16, 2))
    assert all(final(result) for result, _ in got)


async def test_requests_of_one_stream_run_at_once(client, stream):
    before = successes(client, "add_sub")

    stream.send("slow", seconds(4), "slow")
    stream.send("add_sub", addends(), "quick")

    await until(lambda: successes(client, "add_sub") > before)
    assert stream.empty()


def test_the_empty_final_answer_is_the_only_answer_itself(stream):
    stream.send("add_sub", addends(), "a", enable_empty_final_response=True)
    stream.send("add_sub", addends(), "b")

    first, second = (stream.next()[0] for _ in range(2))

    assert [first.get_response().id, second.get_response().id] == ["a", "b"]
    assert final(first)
    assert first.as_numpy("OUTPUT0").shape == (1, 16)


def test_a_failure_is_told_in_its_turn_and_the_stream_goes_on(stream):
    stream.send("add_sub", addends(), "before")
    stream.send("nothing", addends(), "failed")
    stream.send("add_sub", addends(), "after")

    (before, _), (_, error), (after, _) = (stream.next() for _ in range(3))

    assert before.get_response().id == "before"
    assert error.message() == UNKNOWN
    assert after.get_response().id == "after"


def test_a_failure_ends_the_stream_with_its_status_if_the_client_wants_it(client):
    stream = Stream(client).open(headers={"triton_grpc_error": "true"})
    stream.send("add_sub", addends(), "before")
    stream.send("nothing", addends(), "failed")

    (before, _), (_, error) = (stream.next() for _ in range(2))

    assert before.get_response().id == "before"
    assert (error.status(), error.message()) == ("StatusCode.NOT_FOUND", UNKNOWN)


def test_a_cancelled_stream_takes_its_requests_out_of_the_queue(client, stream):
    for _ in range(20):
        stream.send("slow", seconds(2))

    client.stop_stream(cancel_requests=True)

    # With the stream's still in the queue the next would wait for more than their forty seconds.
    done = client.infer("slow", seconds(0.01), client_timeout=35)
    assert done.as_numpy("done").shape == (1, 1)


def test_a_stream_ends_at_its_deadline(client):
    stream = Stream(client).open(stream_timeout=0.5)
    stream.send("slow", seconds(3))

    _, error = stream.next()

    assert error.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_a_gateway_that_stops_ends_idle_streams(cluster, onnx_digits):
    running = cluster(onnx_digits)
    with triton.InferenceServerClient(running.url) as client:
        stream = Stream(client).open()
        stream.send("digits", [tensor("image", np.zeros((1, 1, 8, 8), np.float32), "FP32")])
        answer, _ = stream.next()

        running.process.terminate()
        _, error = stream.next()

    assert answer.as_numpy("digit").shape == (1, 1)
    assert error.status() == "StatusCode.UNAVAILABLE"
    assert "has stopped accepting new requests" in error.message()
    running.process.wait(40)


def test_half_closing_answers_all(client, stream):
    for number in range(20):
        stream.send("add_sub", addends(number), str(number))

    client.stop_stream()

    assert [stream.next()[0].get_response().id for _ in range(20)] == [str(n) for n in range(20)]


def test_a_failed_request_has_only_its_id(models_cluster):
    request = pb.ModelInferRequest(model_name="nothing", id="mine")
    with grpc.insecure_channel(models_cluster.url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        (response,) = stub.ModelStreamInfer(iter([request]), timeout=20)

    assert response.error_message == UNKNOWN
    assert response.infer_response == pb.ModelInferResponse(id="mine")


def test_a_message_that_is_no_protobuf_is_answered_and_the_stream_goes_on(models_cluster):
    damaged = b"\x0a\xff\xff"
    unknown = pb.ModelInferRequest(model_name="nothing").SerializeToString()
    with grpc.insecure_channel(models_cluster.url) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        answers = [
            pb.ModelStreamInferResponse.FromString(a) for a in call(iter([damaged, unknown]))
        ]

    assert "not an inference.ModelInferRequest" in answers[0].error_message
    assert answers[1].error_message == UNKNOWN


async def test_streams_of_the_asyncio_client(models_cluster):
    async def requests():
        for number in range(5):
            model = "nothing" if number == 2 else "add_sub"
            inputs = addends(number, triton_aio.InferInput)
            yield {"model_name": model, "inputs": inputs, "request_id": str(number)}

    async with triton_aio.InferenceServerClient(models_cluster.url) as client:
        answers = [answer async for answer in client.stream_infer(requests())]

    assert [error.message() for _, error in answers if error] == [UNKNOWN]
    results = [result for result, error in answers if error is None]
    assert [result.get_response().id for result in results] == list("0134")


async def test_a_cancelled_stream_of_the_asyncio_client_ends_at_once(models_cluster):
    sent = asyncio.Event()

    async def requests():
        yield {"model_name": "slow", "inputs": seconds(5)}
        sent.set()
        await asyncio.Event().wait()

    async with triton_aio.InferenceServerClient(models_cluster.url) as client:
        answers = client.stream_infer(requests())
        waiting = asyncio.create_task(anext(aiter(answers)))
        await sent.wait()
        answers.cancel()

        with pytest.raises((InferenceServerException, asyncio.CancelledError)):
            await waiting
