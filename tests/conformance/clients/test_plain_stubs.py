"""Requests that no client library writes: plain generated stubs, typed contents, and nonsense."""

import grpc
import pytest

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.contents import FIELD_OF
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub

pytestmark = pytest.mark.both_fronts

TYPED = sorted(FIELD_OF.keys() - {"BYTES"})


@pytest.fixture
def channel(models_cluster):
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(models_cluster.url, options) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    return GRPCInferenceServiceStub(channel)


def test_typed_contents_are_answered_raw(stub):
    request = pb.ModelInferRequest(model_name="add_sub")
    for name in ("INPUT0", "INPUT1"):
        tensor = request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
        tensor.contents.int_contents.extend(range(16))

    response = stub.ModelInfer(request, timeout=20)

    assert not any(output.HasField("contents") for output in response.outputs)
    sums = memoryview(response.raw_output_contents[0]).cast("i").tolist()
    assert sums == list(range(0, 32, 2))


def test_typed_text_is_answered_raw(stub):
    request = pb.ModelInferRequest(model_name="identity_text")
    tensor = request.inputs.add(name="input", datatype="BYTES", shape=[1, 2])
    tensor.contents.bytes_contents.extend([b"a", b""])

    response = stub.ModelInfer(request, timeout=20)

    assert response.raw_output_contents[0] == b"\1\0\0\0a\0\0\0\0"


def test_a_sixteen_bit_float_has_no_typed_form(stub):
    request = pb.ModelInferRequest(model_name="identity_flat")
    for datatype in (*TYPED, "FP16", "BF16"):
        tensor = request.inputs.add(name=f"in_{datatype.lower()}", datatype=datatype, shape=[1])
        field = FIELD_OF.get(datatype, "fp32_contents")
        getattr(tensor.contents, field).append(1)

    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=20)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "of type 'FP32', expected datatype 'FP16'" in caught.value.details()


def test_a_message_that_is_no_protobuf_is_refused(channel):
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    with pytest.raises(grpc.RpcError) as caught:
        call(b"\x0a\xff\xff", timeout=20)

    assert caught.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL}
    assert caught.value.details()


def test_a_message_beyond_the_limit_is_refused_and_the_next_is_served(stub):
    big = pb.ModelInferRequest(model_name="add_sub", raw_input_contents=[bytes(65 * 1024 * 1024)])

    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(big, timeout=20)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=20).live
