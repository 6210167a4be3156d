"""An inference request as HTTP has it, JSON and behind it binary data, and its reply.

Pure: bodies in and serialized messages out, and back. What is wrong with a body's form is refused
here, in Triton's words; what is wrong with the request is refused where gRPC's is.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from penstock.errors import InvalidRequest
from penstock.gateway.fronts.http.json_messages import dumped, parsed, wrong_kind
from penstock.gateway.fronts.http.tensors_json import data_of, raw_from_json
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire
from penstock.tensors import element_count

_INT64: Final = range(-(1 << 63), 1 << 63)
_REGION: Final = "shared_memory_region"
_ALL_BINARY: Final = "binary_data_output"
_BINARY: Final = "binary_data"
_SIZE: Final = "binary_data_size"


class Asked(NamedTuple):
    """A request, and in which form its reply is wanted.

    Attributes:
        message: a serialized ModelInferRequest.
        binary: output -> whether it comes as binary data.
        all_binary: of outputs that were not named.
    """

    message: bytes
    binary: Mapping[str, bool]
    all_binary: bool

    def wants_json(self) -> bool:
        """Whether the data of some output is wanted as JSON."""
        return not (all(self.binary.values()) if self.binary else self.all_binary)


def request_of(model: str, version: str, body: bytes, json_bytes: int) -> Asked:
    """What *body*, of which the first *json_bytes* are JSON, asks for.

    Raises:
        InvalidRequest: it is not what the protocol says.
    """
    view = memoryview(body)
    found = parsed(view[:json_bytes])
    if not isinstance(found, dict):
        raise InvalidRequest("the request's JSON must be an object")
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    try:
        request.id = _text(found, "id", "")
        all_binary = _parameters(found, request)
        raws = _inputs(found, request, view[json_bytes:])
        binary = _outputs(found, request)
    except UnicodeEncodeError as error:
        raise InvalidRequest("the request's JSON has a text that is none") from error
    message = wire.with_raw_inputs(request.SerializeToString(), raws)
    return Asked(message, binary, all_binary)


def _parameters(found: Mapping[str, Any], request: pb.ModelInferRequest) -> bool:
    """Take the request's parameters over; whether outputs are binary unless they say otherwise."""
    given = _mapping(found, "parameters")
    all_binary = given.get(_ALL_BINARY, False)
    if not isinstance(all_binary, bool):
        raise wrong_kind(_ALL_BINARY, "boolean")
    for name, value in given.items():
        if name == _ALL_BINARY:
            continue
        if name.startswith("triton_"):
            raise InvalidRequest(
                "parameter keys starting with 'triton_' are reserved for Triton usage and should "
                "not be specified."
            )
        set_parameter(request.parameters[name], name, value)
    return all_binary


def _inputs(
    found: Mapping[str, Any], request: pb.ModelInferRequest, data: memoryview
) -> list[wire.Buffer]:
    """Take the inputs over; the raw bytes of those that are not in shared memory."""
    raws: list[wire.Buffer] = []
    at = 0
    for given in _list(found, "inputs"):
        _check_source(given)
        tensor = request.inputs.add(
            name=_text(given, "name"), datatype=_text(given, "datatype"), shape=_shape(given)
        )
        parameters = dict(_mapping(given, "parameters"))
        size = parameters.pop(_SIZE, None)
        for name, value in parameters.items():
            set_parameter(tensor.parameters[name], name, value)
        if _REGION in parameters:
            continue
        if size is None:
            raws.append(raw_from_json(tensor.name, tensor.datatype, tensor.shape, given["data"]))
            continue
        end = at + _natural(size, _SIZE)
        if end > len(data):
            raise InvalidRequest(
                f"unexpected size for input '{tensor.name}', expecting {end - len(data)} "
                f"additional bytes for model '{request.model_name}'"
            )
        raws.append(data[at:end])
        at = end
    if at != len(data):
        raise InvalidRequest(f"unexpected additional input data for model '{request.model_name}'")
    return raws


def _outputs(found: Mapping[str, Any], request: pb.ModelInferRequest) -> dict[str, bool]:
    """Take the wanted outputs over; which of them are to be binary."""
    binary = {}
    for given in _list(found, "outputs") if "outputs" in found else ():
        parameters = dict(_mapping(given, "parameters"))
        tensor = request.outputs.add(name=_text(given, "name"))
        wanted = parameters.pop(_BINARY, False)
        if not isinstance(wanted, bool):
            raise wrong_kind(_BINARY, "boolean")
        if _REGION in parameters:
            _check_region(parameters, binary=wanted)
        for name, value in parameters.items():
            set_parameter(tensor.parameters[name], name, value)
        binary[tensor.name] = wanted
    return binary


def _check_source(given: Any) -> None:
    """Refuse an input that says none, or several, of where its data is."""
    if not isinstance(given, dict):
        raise InvalidRequest("Unable to parse 'inputs': an input must be an object")
    parameters = _mapping(given, "parameters")
    named = [
        word
        for word, there in (
            ("'data'", "data" in given),
            ("'binary_data_size'", _SIZE in parameters),
            ("'shared_memory_region'", _REGION in parameters),
        )
        if there
    ]
    if len(named) != 1:
        seen = f" set {' '.join(named)}" if named else " no field is set"
        raise InvalidRequest(
            "Input must set only one of the following fields: 'data', 'binary_data_size' in "
            f"'parameters', 'shared_memory_region' in 'parameters'. But{seen}"
        )


def _check_region(parameters: Mapping[str, Any], *, binary: bool) -> None:
    beside = "classification" if "classification" in parameters else _BINARY if binary else ""
    if beside:
        raise InvalidRequest(f"Output can't set both '{_REGION}' and '{beside}'")


def set_parameter(parameter: pb.InferParameter, name: str, value: Any) -> None:
    """Take over *value*, which JSON has.

    Raises:
        InvalidRequest: it is no value of a parameter.
    """
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int) and value in _INT64:
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    elif isinstance(value, str):
        parameter.string_param = value
    else:
        raise InvalidRequest(
            f"parameter '{name}' has invalid type. It should be either 'int', 'bool', 'double', or "
            "'string'."
        )


def _text(found: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = found.get(name, default)
    if not isinstance(value, str):
        raise wrong_kind(name, "string")
    return value


def _list(found: Mapping[str, Any], name: str) -> list[Any]:
    value = found.get(name)
    if not isinstance(value, list):
        raise wrong_kind(name, "array")
    return value


def _mapping(found: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise InvalidRequest(f"Unable to parse what holds '{name}': it must be an object")
    value = found.get(name, {})
    if not isinstance(value, dict):
        raise wrong_kind(name, "object")
    return value


def _natural(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise wrong_kind(name, "unsigned-integer")
    return value


def _shape(given: Mapping[str, Any]) -> list[int]:
    return [_natural(dimension, "shape") for dimension in _list(given, "shape")]


def reply_of(message: bytes, asked: Asked) -> tuple[bytes, list[memoryview]]:
    """JSON and binary data of the serialized ModelInferResponse *message*.

    Raises:
        InvalidRequest: JSON cannot have what was asked for in it.
    """
    head, raws = wire.split_response(message)
    response = pb.ModelInferResponse.FromString(head)
    outputs, binary = [], []
    for tensor, raw in zip(response.outputs, raws, strict=True):
        parameters = values_of(tensor.parameters)
        data = b""
        if _REGION not in parameters:
            if asked.binary.get(tensor.name, asked.all_binary):
                parameters[_SIZE] = len(raw)
                binary.append(raw)
            else:
                count = element_count(tensor.shape)
                data = b',"data":' + data_of(tensor.name, tensor.datatype, count, raw)
        output = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        described = dumped({**output, "parameters": parameters} if parameters else output)
        outputs.append(described[:-1] + data + b"}")
    return dumped(_head(response))[:-1] + b',"outputs":[' + b",".join(outputs) + b"]}", binary


def _head(response: pb.ModelInferResponse) -> dict[str, Any]:
    head: dict[str, Any] = {"id": response.id} if response.id else {}
    head |= {"model_name": response.model_name, "model_version": response.model_version}
    if response.parameters:
        head["parameters"] = values_of(response.parameters)
    return head


def values_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values of *parameters*, or of settings, by name."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
        for name, value in parameters.items()
    }
