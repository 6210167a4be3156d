"""What Triton's clients rely on without asking: answers as they are on the wire."""

import asyncio
import os
import signal

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from support.metrics import scrape
from support.models.onnx_models import slow_request, write_add_sub, write_slow
from support.waiting import until

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from penstock.tensors import pack_bytes

pytestmark = pytest.mark.both_fronts

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
PENDING = "penstock_gateway_pending_requests"
DRAINING = "GRPC server is shutting down and has stopped accepting new requests."


@pytest.fixture(scope="module")
def stub(models_cluster):
    with grpc.insecure_channel(models_cluster.url) as channel:
        yield GRPCInferenceServiceStub(channel)


def addition(**fields):
    request = pb.ModelInferRequest(model_name="add_sub", **fields)
    for name in ("INPUT0", "INPUT1"):
        request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
        request.raw_input_contents.append(bytes(64))
    return request


class TestAnswers:
    def test_all_outputs_come_back_when_none_is_named(self, stub):
        answer = stub.ModelInfer(addition(), timeout=20)

        assert [output.name for output in answer.outputs] == ["OUTPUT0", "OUTPUT1"]
        assert len(answer.raw_output_contents) == 2

    def test_only_those_that_are_named_otherwise(self, stub):
        request = addition()
        request.outputs.add(name="OUTPUT1")

        answer = stub.ModelInfer(request, timeout=20)

        assert [output.name for output in answer.outputs] == ["OUTPUT1"]

    @pytest.mark.parametrize("id_", ["", "7", "ä 🙂"])
    def test_the_id_comes_back(self, stub, id_):
        assert stub.ModelInfer(addition(id=id_), timeout=20).id == id_

    def test_the_version_is_the_one_that_answered_and_the_highest_is_the_default(
        self, digits_cluster
    ):
        request = pb.ModelInferRequest(model_name="digits")
        request.inputs.add(name="image", datatype="FP32", shape=[1, 1, 8, 8])
        request.raw_input_contents.append(bytes(256))

        with grpc.insecure_channel(digits_cluster.url) as channel:
            stub = GRPCInferenceServiceStub(channel)
            answers = [
                stub.ModelInfer(pb.ModelInferRequest.FromString(asked), timeout=20).model_version
                for asked in (request.SerializeToString(), _of_version(request, "1"))
            ]
            versions = stub.ModelMetadata(pb.ModelMetadataRequest(name="digits")).versions

        assert answers == [max(versions, key=int), "1"]

    @pytest.mark.parametrize("years_s", [5e6, 1e7, 3e8])
    def test_a_deadline_in_the_far_future_is_as_good_as_none(self, stub, years_s):
        for _ in range(3):  # straight to a worker that sleeps, and through the queue
            request = addition()
            assert len(stub.ModelInfer(request, timeout=years_s).outputs) == 2
            request.parameters["timeout"].int64_param = (1 << 63) - 1
            assert len(stub.ModelInfer(request, timeout=years_s).outputs) == 2

    def test_an_empty_output_has_its_raw_entry_all_the_same(self, stub):
        request = pb.ModelInferRequest(model_name="identity_text")
        request.inputs.add(name="input", datatype="BYTES", shape=[1, 0])
        request.raw_input_contents.append(b"")

        answer = stub.ModelInfer(request, timeout=20)

        assert list(answer.raw_output_contents) == [b""]
        assert list(answer.outputs[0].shape) == [1, 0]

    def test_typed_integers_are_cut_to_their_size_and_come_back_raw(self, stub):
        request = pb.ModelInferRequest(model_name="integers")
        for name, kind in {
            "int8": "int",
            "int16": "int",
            "uint8": "uint",
            "uint16": "uint",
        }.items():
            given = request.inputs.add(name=f"in_{name}", datatype=name.upper(), shape=[2])
            numbers = [-2, 0x12345] if kind == "int" else [3, 0x12345]
            getattr(given.contents, f"{kind}_contents").extend(numbers)

        answer = stub.ModelInfer(request, timeout=20)

        assert [bytes(raw) for raw in answer.raw_output_contents] == [
            b"\xfe\x45",
            b"\xfe\xff\x45\x23",
            b"\x03\x45",
            b"\x03\x00\x45\x23",
        ]

    @pytest.mark.parametrize("wanted", [False, True])
    def test_what_the_cpp_client_sets_on_every_request_adds_nothing(self, stub, wanted):
        request = addition()
        request.parameters["triton_enable_empty_final_response"].bool_param = wanted

        answer = stub.ModelInfer(request, timeout=20)

        assert len(answer.outputs) == 2
        assert not answer.parameters

    def test_all_kinds_of_custom_parameters_are_taken(self, stub):
        request = addition()
        request.parameters["a"].bool_param = True
        request.parameters["b"].int64_param = -1
        request.parameters["c"].string_param = "x"
        request.parameters["d"].double_param = 0.5
        request.parameters["priority"].uint64_param = 1
        request.parameters["sequence_id"].string_param = ""

        assert len(stub.ModelInfer(request, timeout=20).outputs) == 2


def _of_version(request, version):
    other = pb.ModelInferRequest()
    other.CopyFrom(request)
    other.model_version = version
    return other.SerializeToString()


class TestSizes:
    SIZE = 12 << 20

    def test_messages_of_many_mib_go_both_ways(self, models_cluster):
        text = np.array([[b"x" * self.SIZE]], dtype=object)
        given = triton.InferInput("input", [1, 1], "BYTES")
        given.set_data_from_numpy(text)

        with triton.InferenceServerClient(models_cluster.url) as client:
            answer = client.infer("identity_text", [given]).as_numpy("output")

        assert len(answer[0, 0]) == self.SIZE

    def test_a_plain_stub_keeps_its_own_limit_for_what_it_receives(self, stub):
        request = pb.ModelInferRequest(model_name="identity_text")
        request.inputs.add(name="input", datatype="BYTES", shape=[1, 1])
        request.raw_input_contents.append(pack_bytes([b"x" * self.SIZE]))

        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request, timeout=20)

        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "Received message larger than max" in caught.value.details()


async def test_a_gateway_that_drains_refuses_new_requests_and_answers_those_it_has(
    cluster, tmp_path
):
    repository = tmp_path / "models"
    write_add_sub(repository)
    write_slow(repository)
    running = cluster(repository)
    async with grpc.aio.insecure_channel(running.url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        held = asyncio.ensure_future(stub.ModelInfer(slow_request(3), timeout=30))
        await until(lambda: asyncio.to_thread(_pending, running), seconds=30)
        os.kill(running.processes()["gateway"][0], signal.SIGTERM)

        async def refused():
            try:
                await stub.ModelInfer(addition(), timeout=20)
            except grpc.aio.AioRpcError as error:
                return error.code(), error.details()
            return None

        told = await until(refused, seconds=20)
        answer = await held

    assert told == (UNAVAILABLE, DRAINING)
    assert len(answer.outputs) == 1


def _pending(running):
    found = scrape(running.metrics_url())
    return sum(value for (name, _), value in found.items() if name == PENDING)
