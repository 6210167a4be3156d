"""Stateful models through Triton's own clients: every way to send a sequence, and each refusal."""

import asyncio
import csv
import queue
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from support.models.onnx_models import write_accumulator, write_named_sequences
from support.processes.cluster import Cluster
from tritonclient.utils import InferenceServerException

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub

OLDEST = "oldest { max_candidate_sequences: 64 max_queue_delay_microseconds: 500 }"
MODELS = ["accumulator", "oldest", "flat"]
"""Models that sum up; they differ in how their sequences are run."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two gateway processes, two workers for each model: nobody keeps a sequence to itself."""
    repository = tmp_path_factory.mktemp("sequence-models")
    group = "instance_group { count: 2 }"
    write_accumulator(repository, "accumulator")
    for entry in (
        write_accumulator(
            repository, "oldest", f"{OLDEST} max_sequence_idle_microseconds: 60000000"
        ),
        write_accumulator(
            repository, "flat", "oldest { max_candidate_sequences: 64 }", batch=False
        ),
        write_named_sequences(repository),
    ):
        config = entry / "config.pbtxt"
        config.write_text(config.read_text() + group)
    initial = 'initial_state { name: "hundred" dims: 1 data_file: "hundred" }'
    entry = write_accumulator(repository, "from_hundred", initial=initial)
    (entry / "initial_state").mkdir()
    (entry / "initial_state" / "hundred").write_bytes(np.int32(100).tobytes())
    write_accumulator(repository, "busy", "oldest { max_candidate_sequences: 1 }")
    short = "oldest { max_candidate_sequences: 1 } max_sequence_idle_microseconds: 50000"
    write_accumulator(repository, "short", short)
    one = Cluster(tmp_path_factory.mktemp("sequences"), repository, "--processes", "2")
    with one.running():
        yield one


@pytest.fixture
def client(cluster):
    with triton.InferenceServerClient(cluster.url) as client:
        yield client
        client.stop_stream(cancel_requests=True)


def new_id():
    """A correlation id that no other test uses."""
    return uuid.uuid4().int % (1 << 62) + 1


def value(number, model="accumulator", kind=triton.InferInput):
    shape = [1] if model == "flat" else [1, 1]
    one = kind("INPUT", shape, "INT32")
    one.set_data_from_numpy(np.full(shape, number, np.int32))
    return [one]


def flags(place, count):
    return {"sequence_start": place == 0, "sequence_end": place == count - 1}


def total(result):
    return int(result.as_numpy("OUTPUT").reshape(-1)[0])


def run(client, model, numbers, sequence_id):
    """Send a sequence, one request after the other; its sums."""
    return [
        total(
            client.infer(model, value(n, model), sequence_id=sequence_id, **flags(i, len(numbers)))
        )
        for i, n in enumerate(numbers)
    ]


def sums(numbers):
    return np.cumsum(numbers).tolist()


def refusal(client, model="accumulator", inputs=None, **asked):
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, inputs or value(1, model), **asked)
    return caught.value.status(), caught.value.message()


# sequences


@pytest.mark.parametrize("model", MODELS)
def test_a_sequence_adds_up(client, model):
    assert run(client, model, [3, -1, 10, 5], new_id()) == [3, 2, 12, 17]


@pytest.mark.parametrize("model", MODELS)
def test_the_model_is_told_where_in_its_sequence_each_request_is(client, model):
    sequence_id = new_id()

    seen = [
        client.infer(model, value(1, model), sequence_id=sequence_id, **flags(i, 3))
        .as_numpy("SEEN")
        .reshape(-1)
        .tolist()
        for i in range(3)
    ]

    assert seen == [[1, 0, 1, sequence_id], [0, 0, 1, sequence_id], [0, 1, 1, sequence_id]]


def test_the_largest_correlation_ids_have_no_sign(cluster, client):
    del client
    with triton.grpc.insecure_channel(cluster.url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        request = pb.ModelInferRequest(model_name="accumulator")
        request.inputs.add(name="INPUT", datatype="INT32", shape=[1, 1])
        request.raw_input_contents.append(np.int32(1).tobytes())
        request.parameters["sequence_id"].int64_param = -2
        request.parameters["sequence_start"].bool_param = True
        request.parameters["sequence_end"].bool_param = True
        answer = stub.ModelInfer(request)

    corrid = np.frombuffer(answer.raw_output_contents[1], np.int64)[3]
    assert corrid.astype(np.uint64) == (1 << 64) - 2


def test_strings_are_correlation_ids_too(client):
    sequence_id = f"größe {new_id()}"
    results = [
        client.infer("named", value(i), sequence_id=sequence_id, **flags(i, 2)) for i in range(2)
    ]

    assert [r.as_numpy("ID").item().decode() for r in results] == [sequence_id] * 2


def test_an_integer_and_a_string_are_different_sequences(client):
    one = new_id()
    client.infer("named", value(1), sequence_id=one, sequence_start=True)

    status, told = refusal(client, "named", sequence_id=str(one))

    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "must specify the START flag" in told


def test_a_sequence_can_begin_with_a_file(client):
    assert run(client, "from_hundred", [1, 2], new_id()) == [101, 103]


def test_a_new_start_begins_anew(client):
    sequence_id = new_id()
    client.infer("oldest", value(7), sequence_id=sequence_id, sequence_start=True)

    assert run(client, "oldest", [1, 2], sequence_id) == [1, 3]


def test_many_sequences_at_once_keep_to_themselves(cluster):
    def one(number):
        numbers = [number + i for i in range(10)]
        with triton.InferenceServerClient(cluster.url) as client:
            return run(client, "oldest", numbers, new_id()) == sums(numbers)

    with ThreadPoolExecutor(20) as threads:
        assert all(threads.map(one, range(40)))


# other ways to send them


async def test_tasks_send_sequences_at_once(cluster):
    async def one(client, number):
        sequence_id, numbers = new_id(), [number, 1, 2, 3]
        found = []
        for i, n in enumerate(numbers):
            inputs = value(n, kind=triton_aio.InferInput)
            answer = await client.infer("oldest", inputs, sequence_id=sequence_id, **flags(i, 4))
            found.append(total(answer))
        return found == sums(numbers)

    async with triton_aio.InferenceServerClient(cluster.url) as client:
        assert all(await asyncio.gather(*(one(client, number) for number in range(50))))


def test_a_stream_does_not_wait_for_answers(client):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    sequences = {new_id(): list(range(n, n + 30)) for n in range(5)}
    for place in range(30):
        for sequence_id, numbers in sequences.items():
            client.async_stream_infer(
                "oldest",
                value(numbers[place]),
                request_id=str(sequence_id),
                sequence_id=sequence_id,
                **flags(place, 30),
            )

    found = {str(sequence_id): [] for sequence_id in sequences}
    for _ in range(150):
        result, error = answers.get(timeout=30)
        assert error is None
        found[result.get_response().id].append(total(result))

    assert found == {str(id_): sums(numbers) for id_, numbers in sequences.items()}


def test_a_stream_tells_each_refusal_in_its_turn(client):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    sequence_id = new_id()
    client.async_stream_infer("oldest", value(1), request_id="no start", sequence_id=sequence_id)
    client.async_stream_infer(
        "oldest", value(5), request_id="start", sequence_id=sequence_id, sequence_start=True
    )

    _, error = answers.get(timeout=30)
    result, _ = answers.get(timeout=30)

    assert "must specify the START flag" in error.message()
    assert total(result) == 5


def test_another_process_can_go_on_with_a_sequence(cluster, client):
    sequence_id = new_id()
    client.infer("oldest", value(40), sequence_id=sequence_id, sequence_start=True)
    code = (
        "import sys, numpy as np, tritonclient.grpc as g\n"
        "one = g.InferInput('INPUT', [1, 1], 'INT32')\n"
        "one.set_data_from_numpy(np.array([[2]], np.int32))\n"
        "with g.InferenceServerClient(sys.argv[1]) as client:\n"
        "    answer = client.infer('oldest', [one], sequence_id=int(sys.argv[2]),"
        " sequence_end=True)\n"
        "    print(answer.as_numpy('OUTPUT').item())\n"
    )

    said = subprocess.run(
        [sys.executable, "-c", code, cluster.url, str(sequence_id)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert said.stdout.strip() == "42"


# refusals


def test_the_first_request_must_start(client):
    sequence_id = new_id()

    assert refusal(client, sequence_id=sequence_id) == (
        "StatusCode.INVALID_ARGUMENT",
        (
            f"inference request for sequence {sequence_id} to model 'accumulator' must specify the "
            "START flag on the first request of the sequence"
        ),
    )


def test_a_request_must_belong_to_a_sequence(client):
    told = (
        "StatusCode.INVALID_ARGUMENT",
        (
            "inference request to model 'accumulator' must specify a non-zero or non-empty "
            "correlation ID"
        ),
    )

    assert refusal(client) == told
    assert refusal(client, sequence_id="", sequence_start=True) == told


def test_a_request_has_one_row(client):
    inputs = [triton.InferInput("INPUT", [2, 1], "INT32")]
    inputs[0].set_data_from_numpy(np.zeros((2, 1), np.int32))

    assert refusal(client, inputs=inputs, sequence_id=1, sequence_start=True) == (
        "StatusCode.INVALID_ARGUMENT",
        (
            "inference request to model 'accumulator' must specify batch-size 1 due to "
            "requirements of sequence batcher"
        ),
    )


def test_a_string_does_not_fit_into_a_number(client):
    status, told = refusal(client, sequence_id="words", sequence_start=True)

    assert (status, told) == (
        "StatusCode.INVALID_ARGUMENT",
        "correlation ID 'words' is no UINT64, which the model takes",
    )


def test_what_a_model_is_told_cannot_be_sent(client):
    extra = triton.InferInput("SUM", [1, 1], "INT32")
    extra.set_data_from_numpy(np.zeros((1, 1), np.int32))

    status, told = refusal(client, inputs=[*value(1), extra], sequence_id=1, sequence_start=True)

    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "expected 1 inputs but got 2 inputs" in told


def test_an_idle_sequence_is_over_and_makes_room(client):
    """The model has one slot: the second sequence begins when the first has been idle too long."""
    idle, other = new_id(), new_id()
    client.infer("short", value(1), sequence_id=idle, sequence_start=True)

    assert run(client, "short", [5], other) == [5]
    assert "must specify the START flag" in refusal(client, "short", sequence_id=idle)[1]


def test_a_sequence_that_gets_no_slot_in_time_is_refused(client):
    first = new_id()
    client.infer("busy", value(1), sequence_id=first, sequence_start=True)

    told = refusal(client, "busy", sequence_id=new_id(), sequence_start=True, timeout=20_000)

    assert told == (
        "StatusCode.UNAVAILABLE",
        "timeout of the corresponding sequence has been expired",
    )
    client.infer("busy", value(1), sequence_id=first, sequence_end=True)
    assert run(client, "busy", [1, 2], new_id()) == [1, 3]


# what clients look at


def test_the_server_says_that_it_has_sequences(client):
    assert "sequence" in client.get_server_metadata().extensions
    config = client.get_model_config("oldest").config
    assert config.sequence_batching.oldest.max_candidate_sequences == 64
    assert [one.name for one in client.get_model_metadata("oldest").inputs] == ["INPUT"]
    assert [one.name for one in client.get_model_metadata("oldest").outputs] == ["OUTPUT", "SEEN"]


def test_statistics_count_each_request_once(client):
    def successes():
        (stats,) = client.get_inference_statistics("flat").model_stats
        return stats.inference_stats.success.count, stats.inference_count

    before = successes()
    run(client, "flat", [1] * 7, new_id())

    assert np.subtract(successes(), before).tolist() == [7, 7]


@pytest.mark.parametrize("mode", ["--async", "--streaming"])
@pytest.mark.parametrize("model", ["accumulator", "oldest"])
def test_perf_analyzer_sends_sequences(perf_analyzer, cluster, tmp_path, mode, model):
    report = tmp_path / "report.csv"

    perf_analyzer(
        *("-m", model, "-i", "grpc", "-u", cluster.url, mode),
        *("--concurrency-range", "4"),
        *("--sequence-length", "8", "--num-of-sequences", "4"),
        *("-f", str(report)),
    )

    with report.open() as file:
        (row,) = list(csv.DictReader(file))
    assert float(row["Inferences/Second"]) > 0
    assert float(row["Server Compute Infer"]) > 0
