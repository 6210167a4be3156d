"""Refused requests: Triton's code and Triton's text to the letter, through plain stubs."""

from dataclasses import dataclass, field

import grpc
import numpy as np
import pytest

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from penstock.tensors import pack_bytes

pytestmark = pytest.mark.both_fronts

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
ROW = np.arange(16, dtype=np.int32)
A, B = "INPUT0", "INPUT1"


@pytest.fixture(scope="module")
def stub(models_cluster):
    with grpc.insecure_channel(models_cluster.url) as channel:
        yield GRPCInferenceServiceStub(channel)


@dataclass
class Asked:
    """A request: *inputs* are (name, datatype, shape, raw content or None)."""

    inputs: list = field(default_factory=list)
    model: str = "add_sub"
    version: str = ""
    outputs: tuple = ()
    parameters: dict = field(default_factory=dict)
    typed: dict = field(default_factory=dict)

    def request(self):
        made = pb.ModelInferRequest(model_name=self.model, model_version=self.version, id="i")
        for name, datatype, shape, raw in self.inputs:
            made.inputs.add(name=name, datatype=datatype, shape=shape)
            if raw is not None:
                made.raw_input_contents.append(raw)
        for place, (kind, values) in self.typed.items():
            getattr(made.inputs[place].contents, kind).extend(values)
        for name in self.outputs:
            made.outputs.add(name=name)
        for key, value in self.parameters.items():
            made.parameters[key].CopyFrom(value)
        return made


def numbers(name, *shape, datatype="INT32", raw=None):
    size = int(np.prod([max(0, one) for one in shape])) * 4
    return name, datatype, shape, bytes(size) if raw is None else raw


def both(*shape, **options):
    return [numbers(A, *shape, **options), numbers(B, *shape, **options)]


def text(shape, raw, **options):
    return Asked([("input", "BYTES", shape, raw)], model="identity_text", **options)


def fine(**options):
    return Asked(both(1, 16), **options)


def parameter(**value):
    return pb.InferParameter(**value)


BATCH_NOTE = (
    " NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be "
    "prepended to each input shape. If you want to specify the full shape including the batch dim "
    "in your input dims config, try setting max_batch_size to zero. See the model configuration "
    "docs for more info on max_batch_size."
)
LACKS_B = (
    "Got input(s) ['INPUT0'], but missing required input(s) ['INPUT1']. Please provide all "
    "required input(s)."
)

REFUSED = {
    "unknown model": (
        fine(model="nothing"),
        NOT_FOUND,
        "Request for unknown model: 'nothing' is not found",
    ),
    "unknown version": (
        fine(version="99"),
        NOT_FOUND,
        "Request for unknown model: 'add_sub' version 99 is not found",
    ),
    "version that is no number": (
        fine(version="v1"),
        INVALID,
        (
            "failed to get model version from specified version string 'v1' (details: not a "
            "number), version should be an integral value > 0"
        ),
    ),
    "too few inputs": (
        Asked([numbers(A, 1, 16)]),
        INVALID,
        f"[request id: i] expected 2 inputs but got 1 inputs for model 'add_sub'. {LACKS_B}",
    ),
    "too many inputs": (
        Asked([*both(1, 16), numbers("C", 1, 16)]),
        INVALID,
        (
            "[request id: i] expected 2 inputs but got 3 inputs for model 'add_sub'. Got input(s) "
            "['INPUT0','INPUT1','C'], but missing required input(s) []. Please provide all "
            "required input(s)."
        ),
    ),
    "unknown input": (
        Asked([numbers(A, 1, 16), numbers("C", 1, 16)]),
        INVALID,
        "unexpected inference input 'C' for model 'add_sub'",
    ),
    "unknown output": (
        fine(outputs=("OUTPUT9",)),
        INVALID,
        "unexpected inference output 'OUTPUT9' for model 'add_sub'",
    ),
    "duplicate input": (
        Asked([numbers(A, 1, 16), numbers(A, 1, 16)]),
        INVALID,
        "[request id: i] input 'INPUT0' already exists in request",
    ),
    "duplicate output": (
        fine(outputs=("OUTPUT0", "OUTPUT0")),
        INVALID,
        "[request id: i] output 'OUTPUT0' already exists in request",
    ),
    "wrong datatype": (
        Asked(both(1, 16, datatype="FP32")),
        INVALID,
        (
            "[request id: i] inference input 'INPUT0' data-type is 'FP32', but model 'add_sub' "
            "expects 'INT32'"
        ),
    ),
    "wrong shape": (
        Asked(both(1, 15)),
        INVALID,
        (
            "[request id: i] unexpected shape for input 'INPUT0' for model 'add_sub'. Expected "
            f"[-1,16], got [1,15].{BATCH_NOTE}"
        ),
    ),
    "-1 in a request shape": (
        Asked(both(1, -1, raw=bytes(64))),
        INVALID,
        (
            "[request id: i] All input dimensions should be specified for input 'INPUT0' for model "
            "'add_sub', got [1,-1]"
        ),
    ),
    "no shape but batching": (
        Asked(both()),
        INVALID,
        (
            "[request id: i] input 'INPUT0' has no shape but model requires batch dimension for "
            "'add_sub'"
        ),
    ),
    "batch sizes differ": (
        Asked([numbers(A, 1, 16), numbers(B, 2, 16)]),
        INVALID,
        "[request id: i] input 'INPUT1' batch size does not match other inputs for 'add_sub'",
    ),
    "batch too big": (
        Asked(both(9, 16)),
        INVALID,
        "[request id: i] inference request batch-size must be <= 8 for 'add_sub'",
    ),
    "byte size mismatch": (
        Asked([numbers(A, 1, 16, raw=bytes(128)), numbers(B, 1, 16)]),
        INVALID,
        (
            "[request id: i] input byte size mismatch for input 'INPUT0' for model 'add_sub'. "
            "Expected 64, got 128"
        ),
    ),
    "too few BYTES elements": (
        text([1, 3], pack_bytes([b"a", b"b"])),
        INVALID,
        (
            "[request id: i] expected 3 string elements for inference input 'input' for model "
            "'identity_text', got 2"
        ),
    ),
    "too many BYTES elements": (
        text([1, 1], pack_bytes([b"a", b"b"])),
        INVALID,
        (
            "[request id: i] unexpected number of string elements 2 for inference input 'input' "
            "for model 'identity_text', expecting 1"
        ),
    ),
    "BYTES length cut off": (
        text([1, 1], b"\1\0"),
        INVALID,
        (
            "[request id: i] incomplete string length indicator for inference input 'input' for "
            "model 'identity_text', expecting 4 bytes but only 2 bytes available. Please make sure "
            "the string length indicator is in one buffer."
        ),
    ),
    "no data for input": (
        Asked([(A, "INT32", [1, 16], None), (B, "INT32", [1, 16], None)]),
        INVALID,
        "unable to find data for input tensor 'INPUT0' for model 'add_sub' in request.",
    ),
    "raw and contents mixed": (
        fine(typed={0: ("int_contents", range(16))}),
        INVALID,
        (
            "contents field must not be specified when using raw_input_contents for 'INPUT0' for "
            "model 'add_sub'"
        ),
    ),
    "contents of the wrong kind": (
        Asked(
            [(A, "INT32", [1, 16], None), (B, "INT32", [1, 16], None)],
            typed={0: ("fp32_contents", [0.0] * 16), 1: ("int_contents", [0] * 16)},
        ),
        INVALID,
        (
            "unexpected explicit tensor data for input tensor 'INPUT0' for model 'add_sub' of type "
            "'FP32', expected datatype 'INT32'"
        ),
    ),
    "sequence_id of another type": (
        fine(parameters={"sequence_id": parameter(bool_param=True)}),
        INVALID,
        "invalid value type for 'sequence_id' parameter, expected int64_param or string_param.",
    ),
    "priority of another type": (
        fine(parameters={"priority": parameter(string_param="1")}),
        INVALID,
        "invalid value type for 'priority' parameter, expected int64_param or uint64_param.",
    ),
    "timeout below zero": (
        fine(parameters={"timeout": parameter(int64_param=-1)}),
        INVALID,
        "invalid value for 'timeout', expected value >= 0.",
    ),
    "a triton_ key": (
        fine(parameters={"triton_other": parameter(bool_param=True)}),
        INVALID,
        (
            "parameter keys starting with 'triton_' are reserved for Triton usage. Only the "
            "following keys starting with 'triton_' are allowed: triton_enable_empty_final_response"
        ),
    ),
    "a custom uint64": (
        fine(parameters={"mine": parameter(uint64_param=1)}),
        INVALID,
        (
            "invalid value type for 'mine' parameter, expected int64_param, bool_param, or "
            "string_param."
        ),
    ),
}
"""Case -> request, code and text."""


def told_by(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=20)
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_is_refused_in_tritons_words(stub, case):
    asked, code, text_ = REFUSED[case]

    assert told_by(stub.ModelInfer, asked.request()) == (code, text_)


@pytest.mark.parametrize("case", REFUSED)
def test_a_stream_says_the_same(stub, case):
    asked, _, text_ = REFUSED[case]

    (answer,) = stub.ModelStreamInfer(iter([asked.request()]), timeout=20)

    assert answer.infer_response == pb.ModelInferResponse(id="i")
    assert answer.error_message == text_


def test_a_request_without_an_id_is_called_unknown(stub):
    request = Asked(both(9, 16)).request()
    request.id = ""

    told = told_by(stub.ModelInfer, request)

    assert told[1] == (
        "[request id: <id_unknown>] inference request batch-size must be <= 8 for 'add_sub'"
    )


@pytest.mark.parametrize(
    ("name", "version", "code", "words"),
    [
        ("nothing", "", NOT_FOUND, "Request for unknown model: 'nothing' is not found"),
        ("add_sub", "7", NOT_FOUND, "Request for unknown model: 'add_sub' version 7 is not found"),
    ],
)
@pytest.mark.parametrize("rpc", ["ModelMetadata", "ModelConfig"])
def test_what_is_not_there_has_no_metadata(stub, rpc, name, version, code, words):
    request = getattr(pb, f"{rpc}Request")(name=name, version=version)

    assert told_by(getattr(stub, rpc), request) == (code, words)


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("nothing", "", "requested model 'nothing' is not available"),
        ("add_sub", "7", "requested model version is not available for model 'add_sub'"),
    ],
)
def test_what_is_not_there_has_no_statistics(stub, name, version, words):
    request = pb.ModelStatisticsRequest(name=name, version=version)

    assert told_by(stub.ModelStatistics, request) == (INVALID, words)


def test_the_first_of_several_faults_is_told_in_tritons_order(stub):
    """Outputs, number of inputs, batch dimensions, batch size, datatype, dims, bytes."""
    order = [
        (Asked([numbers(A, 9, 15, datatype="FP32")], outputs=("X",)), "inference output 'X'"),
        (Asked([numbers(A, 9, 15, datatype="FP32")]), "expected 2 inputs but got 1"),
        (
            Asked([numbers(A, 9, 15, datatype="FP32"), numbers(B, 8, 15)]),
            "input 'INPUT1' batch size does not match",
        ),
        (Asked(both(9, 15, datatype="FP32", raw=b"")), "batch-size must be <= 8"),
        (Asked(both(8, 15, datatype="FP32", raw=b"")), "data-type is 'FP32'"),
        (Asked(both(8, 15, raw=b"")), "unexpected shape for input 'INPUT0'"),
        (Asked(both(8, 16, raw=b"")), "input byte size mismatch for input 'INPUT0'"),
    ]

    for asked, words in order:
        assert words in told_by(stub.ModelInfer, asked.request())[1]


def test_shared_memory_is_disabled(stub):
    told = told_by(
        stub.SystemSharedMemoryRegister, pb.SystemSharedMemoryRegisterRequest(name="r", key="k")
    )

    assert told == (
        UNIMPLEMENTED,
        (
            "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to "
            "enable."
        ),
    )


@pytest.mark.parametrize("name", ["add_sub", "nothing"])
@pytest.mark.parametrize("rpc", ["RepositoryModelLoad", "RepositoryModelUnload"])
def test_models_are_not_loaded_where_the_repository_is_polled(stub, rpc, name):
    request = getattr(pb, f"{rpc}Request")(model_name=name)

    assert told_by(getattr(stub, rpc), request) == (
        grpc.StatusCode.UNAVAILABLE,
        "explicit model load / unload is not allowed if polling is enabled",
    )
