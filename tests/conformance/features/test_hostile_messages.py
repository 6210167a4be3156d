"""Messages that cost more than they look are refused by the limit that they break."""

import grpc
import pytest
from support.clients.hostile import MIB, OF_INFERENCE, empties, field, many_strings

from penstock.protos import grpc_service_pb2 as pb

pytestmark = pytest.mark.both_fronts

INFERENCE = "/inference.GRPCInferenceService/"

OTHERS = {
    f"{INFERENCE}ModelReady": field(1, b"m" * MIB),
    f"{INFERENCE}ModelMetadata": empties(9),
    f"{INFERENCE}TraceSetting": empties(1),
    f"{INFERENCE}LogSettings": empties(1),
    f"{INFERENCE}RepositoryIndex": field(1, b"r" * MIB),
    f"{INFERENCE}RepositoryModelUnload": empties(3),
    f"{INFERENCE}SystemSharedMemoryRegister": field(1, b"n" * MIB),
    "/penstock.v1.Cluster/Status": empties(15),
    "/penstock.v1.Cluster/DeadLetters": field(1, b"m" * MIB),
    "/penstock.v1.Cluster/RetryDeadLetter": field(1, b"j" * MIB),
    "/grpc.health.v1.Health/Check": field(1, b"s" * MIB),
}


@pytest.fixture(scope="module")
def channel(models_cluster):
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(models_cluster.url, options) as channel:
        yield channel


def refusal_of(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("what", OF_INFERENCE)
def test_a_request_with_too_much_of_something_is_an_invalid_argument(channel, what):
    message, words = OF_INFERENCE[what]

    code, text = refusal_of(lambda: channel.unary_unary(f"{INFERENCE}ModelInfer")(message))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert words in text


@pytest.mark.parametrize("method", OTHERS)
def test_other_methods_take_short_messages_only(channel, method):
    code, text = refusal_of(lambda: channel.unary_unary(method)(OTHERS[method]))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "may have 65536 bytes, and this one has" in text


def test_methods_that_stream_their_answers_take_short_messages_only(channel):
    events = channel.unary_stream("/penstock.v1.Cluster/Events")
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
    reflection = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    )
    long = field(1, b"x" * MIB)

    for call in (
        lambda: list(events(long)),
        lambda: list(watch(long)),
        lambda: list(reflection(iter([long]))),
    ):
        code, text = refusal_of(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "may have 65536 bytes, and this one has" in text


def test_a_load_of_many_parameters_is_refused_before_it_is_parsed(channel):
    load = channel.unary_unary(f"{INFERENCE}RepositoryModelLoad")

    code, text = refusal_of(lambda: load(field(2, b"m") + empties(3)))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "a message may have 65536 parts" in text


def test_a_text_that_repeats_what_a_client_sent_is_short_enough_to_be_read(channel):
    request = pb.ModelInferRequest(model_name="m" * 100_000).SerializeToString()

    code, text = refusal_of(lambda: channel.unary_unary(f"{INFERENCE}ModelInfer")(request))

    assert code is grpc.StatusCode.NOT_FOUND
    assert text.startswith("Request for unknown model: 'mmm")
    assert len(text) < 4096


def test_a_million_strings_are_answered(channel):
    count = 1_000_000
    request = pb.ModelInferRequest(model_name="identity_text")
    request.inputs.add(name="input", datatype="BYTES", shape=[1, count])
    request.raw_input_contents.append(many_strings(count))
    infer = channel.unary_unary(
        f"{INFERENCE}ModelInfer",
        pb.ModelInferRequest.SerializeToString,
        pb.ModelInferResponse.FromString,
    )

    answer = infer(request, timeout=60)

    assert answer.raw_output_contents[0] == request.raw_input_contents[0]
