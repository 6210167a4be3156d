"""Calls as the protocol's messages: requests out, responses in."""

from collections.abc import Mapping

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire
from penstock.tensors import Array, from_raw, to_raw
from penstock.workers.run.encoding import put_parameters
from penstock.workers.run.work import own_parameters
from penstock.workers.runtimes.triton_python.datatypes import serialize_byte_tensor
from penstock.workers.runtimes.triton_python.environment import ModelCall
from penstock.workers.runtimes.triton_python.requests import FLAGS
from penstock.workers.runtimes.triton_python.responses import InferenceResponse
from penstock.workers.runtimes.triton_python.tensors import Tensor

Value = bool | int | float | str


def request_of(call: ModelCall) -> tuple[pb.ModelInferRequest, list[bytes]]:
    """What a call asks for, and the raw contents of its inputs, which are kept apart."""
    request = pb.ModelInferRequest(
        model_name=call.model,
        model_version=str(call.version or ""),
        id=call.request_id,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name=one.name(), datatype=one.wire_datatype, shape=one.shape()
            )
            for one in call.inputs
        ],
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=n) for n in call.outputs],
    )
    put_parameters(request.parameters, _parameters(call))
    return request, [_raw(one.array, one.wire_datatype) for one in call.inputs]


def payload_of(request: pb.ModelInferRequest, raws: list[bytes]) -> bytes:
    """The two as one message."""
    return wire.with_raw_inputs(request.SerializeToString(), raws)


def response_of(body: bytes) -> InferenceResponse:
    """A serialized ModelInferResponse as a model sees it."""
    head, raws = wire.split_response(body)
    response = pb.ModelInferResponse.FromString(head)
    tensors = [
        Tensor(one.name, from_raw(raw, one.datatype, one.shape), one.datatype)
        for one, raw in zip(response.outputs, raws, strict=True)
    ]
    return InferenceResponse(tensors, parameters=own_parameters(response.parameters))


def _raw(array: Array, datatype: str) -> bytes:
    if datatype == "BYTES":
        return serialize_byte_tensor(array) or b""
    return to_raw(array)


def _parameters(call: ModelCall) -> Mapping[str, Value]:
    found: dict[str, Value] = dict(call.parameters)
    if call.correlation_id:
        found["sequence_id"] = call.correlation_id
    found |= {key: True for key, flag in FLAGS.items() if call.flags & flag}
    if call.timeout_us:
        found["timeout"] = call.timeout_us
    return found
