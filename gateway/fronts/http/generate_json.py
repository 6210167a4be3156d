"""Triton's generate extension: an object whose keys are inputs or parameters, and replies likewise.

Pure. A value is a scalar or a list; the shape of its tensor follows from the model's metadata.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from penstock.errors import InvalidRequest
from penstock.gateway.fronts.http.infer_json import set_parameter
from penstock.gateway.fronts.http.tensors_json import elements_of, raw_from_json
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire
from penstock.tensors import element_count

_NESTED: Final = "parameters"
_ID: Final = "id"


def request_of(metadata: pb.ModelMetadataResponse, version: str, body: Mapping[str, Any]) -> bytes:
    """The serialized ModelInferRequest that *body* stands for.

    Raises:
        InvalidRequest: a value is none that its input, or a parameter, can have.
    """
    request = pb.ModelInferRequest(model_name=metadata.name, model_version=version)
    inputs = {tensor.name: tensor for tensor in metadata.inputs}
    raws = []
    try:
        for name, value in _members(body, inputs):
            if name == _ID and name not in inputs and isinstance(value, str):
                request.id = value
            elif name in inputs:
                raws.append(_input(request, inputs[name], value))
            else:
                set_parameter(request.parameters[name], name, value)
    except UnicodeEncodeError as error:
        raise InvalidRequest("the request's JSON has a text that is none") from error
    return wire.with_raw_inputs(request.SerializeToString(), raws)


def _members(body: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in body.items():
        if name != _NESTED:
            yield name, value
            continue
        if name in inputs:
            raise InvalidRequest(
                f"Keyword '{name}' for nested schema also given as input tensor name"
            )
        if not isinstance(value, dict):
            raise InvalidRequest(f"Expected JSON object for keyword: '{name}'")
        yield from value.items()


def _input(request: pb.ModelInferRequest, tensor: Any, value: Any) -> bytes:
    data = value if isinstance(value, list) else [value]
    shape = _shape(tensor.name, list(tensor.shape), len(data))
    request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
    return raw_from_json(tensor.name, tensor.datatype, shape, data)


def _shape(name: str, shape: list[int], count: int) -> list[int]:
    """*shape* for so many elements: the last free dimension has them all, other free ones one."""
    fixed = element_count(dimension for dimension in shape if dimension != -1)
    fits = fixed and count % fixed == 0
    left, found = count // fixed if fits else 0, []
    for dimension in reversed(shape):
        found.append(left if dimension == -1 else dimension)
        left = 1 if dimension == -1 else left
    if not fits or left != 1:
        raise InvalidRequest(
            f"The schema can not convert input '{name}' to tensor with proper shape"
        )
    return found[::-1]


def reply_of(message: bytes) -> dict[str, Any]:
    """The serialized ModelInferResponse *message* as one object.

    Raises:
        InvalidRequest: JSON cannot have an output's data.
    """
    head, raws = wire.split_response(message)
    response = pb.ModelInferResponse.FromString(head)
    found: dict[str, Any] = {_ID: response.id} if response.id else {}
    found |= {"model_name": response.model_name, "model_version": response.model_version}
    for tensor, raw in zip(response.outputs, raws, strict=True):
        count = element_count(tensor.shape)
        elements = elements_of(tensor.name, tensor.datatype, count, raw)
        found[tensor.name] = elements[0] if len(elements) == 1 else elements
    return found


def is_empty(message: bytes) -> bool:
    """Whether a response has no output, as the last one of a decoupled model."""
    head, _ = wire.split_response(message)
    return not pb.ModelInferResponse.FromString(head).outputs
