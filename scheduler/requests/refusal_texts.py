"""The texts with which Triton refuses a request, made only when one is refused.

Clients match on them, so they are Triton's to the letter, prefix and spacing included.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from penstock.errors import InvalidRequest, Unimplemented
from penstock.protos.contents import FIELDS
from penstock.protos.grpc_service_pb2 import ModelInferRequest

Tensor = ModelInferRequest.InferInputTensor

DISABLED: Final = (
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
)

_BATCH_NOTE = (
    " NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be"
    " prepended to each input shape. If you want to specify the full shape including the batch dim"
    " in your input dims config, try setting max_batch_size to zero. See the model configuration"
    " docs for more info on max_batch_size."
)


def _named(request: ModelInferRequest, text: str) -> InvalidRequest:
    return InvalidRequest(f"[request id: {request.id or '<id_unknown>'}] {text}")


def _shape(dims: Iterable[int]) -> str:
    return f"[{','.join(map(str, dims))}]"


def _quoted(names: Iterable[str]) -> str:
    return "[" + ",".join(f"'{name}'" for name in names) + "]"


def parameter_type(key: str, *expected: str) -> InvalidRequest:
    """A parameter of another type than its key has."""
    if len(expected) > 2:
        kinds = ", ".join(expected[:-1]) + f", or {expected[-1]}"
    else:
        kinds = " or ".join(expected)
    return InvalidRequest(f"invalid value type for '{key}' parameter, expected {kinds}.")


def parameter_value(key: str) -> InvalidRequest:
    """A parameter below zero."""
    return InvalidRequest(f"invalid value for '{key}', expected value >= 0.")


def class_count_type() -> InvalidRequest:
    """A number of classes that is no int64; Triton has words of its own for this parameter."""
    return InvalidRequest("invalid value type for 'classification' parameter, expected int64_param")


def class_count() -> InvalidRequest:
    """A number of classes below one: for the output itself the parameter is left out."""
    return InvalidRequest("invalid value for 'classification' parameter, expected >= 0")


def reserved_key(allowed: str) -> InvalidRequest:
    """A custom parameter in Triton's own name space."""
    return InvalidRequest(
        "parameter keys starting with 'triton_' are reserved for Triton usage. "
        f"Only the following keys starting with 'triton_' are allowed: {allowed}"
    )


def own_key(key: str) -> InvalidRequest:
    """A parameter that only gateways set."""
    return InvalidRequest(f"parameter '{key}' is reserved: gateways set it")


def shared_memory() -> Unimplemented:
    """A tensor that lies in a shared memory region, where there are none."""
    return Unimplemented(DISABLED)


def shared_memory_of_many() -> Unimplemented:
    """Outputs in shared memory of a model whose later responses would overwrite the earlier."""
    return Unimplemented(
        "outputs in shared memory are not offered for models with decoupled transaction policy: "
        "each response would overwrite the one before"
    )


def classless(datatype: str) -> InvalidRequest:
    """An output asked for as its top classes whose elements have no order."""
    return InvalidRequest(
        f"class result not available for output due to unsupported type '{datatype}'"
    )


def repeated(request: ModelInferRequest, kind: str, names: Iterable[str]) -> InvalidRequest:
    """Two inputs, or two outputs, of one name."""
    again = next(name for name, count in Counter(names).items() if count > 1)
    return _named(request, f"{kind} '{again}' already exists in request")


def mixed(request: ModelInferRequest, name: str) -> InvalidRequest:
    """Typed contents beside raw ones."""
    return InvalidRequest(
        "contents field must not be specified when using raw_input_contents for "
        f"'{name}' for model '{request.model_name}'"
    )


def no_data(request: ModelInferRequest, name: str) -> InvalidRequest:
    """Neither typed nor raw contents."""
    return InvalidRequest(
        f"unable to find data for input tensor '{name}' for model '{request.model_name}' "
        "in request."
    )


def surplus_data(request: ModelInferRequest, count: int) -> InvalidRequest:
    """More raw contents than inputs. Triton ignores them; here nothing is lost silently."""
    return _named(
        request,
        f"expected {len(request.inputs)} raw_input_contents for model '{request.model_name}', "
        f"one for each input, but got {count}",
    )


def contents_kind(request: ModelInferRequest, tensor: Tensor, field: str) -> InvalidRequest:
    """Typed contents in a field that does not carry the input's datatype."""
    return InvalidRequest(
        f"unexpected explicit tensor data for input tensor '{tensor.name}' for model "
        f"'{request.model_name}' of type '{FIELDS[field][0]}', expected datatype "
        f"'{tensor.datatype}'"
    )


def contents_twice(request: ModelInferRequest, tensor: Tensor) -> InvalidRequest:
    """Typed contents in two fields."""
    return InvalidRequest(
        f"unexpected explicit tensor data for input tensor '{tensor.name}' for model "
        f"'{request.model_name}', binary data was already supplied."
    )


def unexpected(request: ModelInferRequest, kind: str, name: str) -> InvalidRequest:
    """An input, or an output, that the model does not have."""
    return InvalidRequest(f"unexpected inference {kind} '{name}' for model '{request.model_name}'")


def input_count(request: ModelInferRequest, required: Collection[str], most: int) -> InvalidRequest:
    """Too few or too many inputs."""
    given = [tensor.name for tensor in request.inputs]
    missing = [name for name in required if name not in given]
    if len(required) == most:
        expected = f"expected {most} inputs"
    else:
        expected = f"expected number of inputs between {len(required)} and {most}"
    return _named(
        request,
        f"{expected} but got {len(given)} inputs for model '{request.model_name}'. "
        f"Got input(s) {_quoted(given)}, but missing required input(s) {_quoted(missing)}. "
        "Please provide all required input(s).",
    )


def no_batch_dimension(request: ModelInferRequest, name: str) -> InvalidRequest:
    """A scalar for a model with a batch dimension."""
    return _named(
        request,
        f"input '{name}' has no shape but model requires batch dimension for "
        f"'{request.model_name}'",
    )


def batch_mismatch(request: ModelInferRequest, name: str) -> InvalidRequest:
    """Inputs whose batch dimensions differ."""
    return _named(
        request,
        f"input '{name}' batch size does not match other inputs for '{request.model_name}'",
    )


def batch_size(request: ModelInferRequest, relation: str) -> InvalidRequest:
    """A batch of more rows than the model takes, or of none."""
    return _named(
        request,
        f"inference request batch-size must be {relation} for '{request.model_name}'",
    )


def datatype(request: ModelInferRequest, tensor: Tensor, expected: str) -> InvalidRequest:
    """An input of another datatype than the model's."""
    return _named(
        request,
        f"inference input '{tensor.name}' data-type is '{tensor.datatype}', but model "
        f"'{request.model_name}' expects '{expected}'",
    )


def open_dimension(request: ModelInferRequest, tensor: Tensor) -> InvalidRequest:
    """A shape that leaves a dimension open, which only a model may do."""
    return _named(
        request,
        f"All input dimensions should be specified for input '{tensor.name}' for model "
        f"'{request.model_name}', got {_shape(tensor.shape)}",
    )


def shape(
    request: ModelInferRequest, tensor: Tensor, expected: Iterable[int], *, batching: bool
) -> InvalidRequest:
    """An input of another shape than the model's."""
    return _named(
        request,
        f"unexpected shape for input '{tensor.name}' for model '{request.model_name}'. "
        f"Expected {_shape(expected)}, got {_shape(tensor.shape)}."
        f"{_BATCH_NOTE if batching else ''}",
    )


def byte_size(request: ModelInferRequest, name: str, expected: int, got: int) -> InvalidRequest:
    """Contents that are not as long as their shape says."""
    return _named(
        request,
        f"input byte size mismatch for input '{name}' for model '{request.model_name}'. "
        f"Expected {expected}, got {got}",
    )


def many_strings(request: ModelInferRequest, name: str, most: int, got: int) -> InvalidRequest:
    """More BYTES elements than one tensor may have, whatever the model takes."""
    return _named(
        request,
        f"inference input '{name}' for model '{request.model_name}' has {got} string elements, and "
        f"{most} is the most that one tensor may have",
    )


def too_few_strings(
    request: ModelInferRequest, name: str, expected: int, got: int
) -> InvalidRequest:
    """BYTES contents of fewer elements than their shape says."""
    return _named(
        request,
        f"expected {expected} string elements for inference input '{name}' for model "
        f"'{request.model_name}', got {got}",
    )


def too_many_strings(request: ModelInferRequest, name: str, expected: int) -> InvalidRequest:
    """BYTES contents of more elements than their shape says: the first that is too much."""
    return _named(
        request,
        f"unexpected number of string elements {expected + 1} for inference input '{name}' "
        f"for model '{request.model_name}', expecting {expected}",
    )


def cut_length(request: ModelInferRequest, name: str, available: int) -> InvalidRequest:
    """BYTES contents that end within an element's length."""
    return _named(
        request,
        f"incomplete string length indicator for inference input '{name}' for model "
        f"'{request.model_name}', expecting 4 bytes but only {available} bytes available. "
        "Please make sure the string length indicator is in one buffer.",
    )


def cut_string(
    request: ModelInferRequest, name: str, length: int, available: int
) -> InvalidRequest:
    """BYTES contents that end within an element."""
    return _named(
        request,
        f"incomplete string data for inference input '{name}' for model "
        f"'{request.model_name}', expecting string of length {length} but only {available} "
        "bytes available",
    )


def sequence_rows(request: ModelInferRequest) -> InvalidRequest:
    """Several rows for a stateful model."""
    return InvalidRequest(
        f"inference request to model '{request.model_name}' must specify batch-size 1 due to "
        "requirements of sequence batcher"
    )


def no_sequence(request: ModelInferRequest) -> InvalidRequest:
    """A request to a stateful model that belongs to no sequence."""
    return InvalidRequest(
        f"inference request to model '{request.model_name}' must specify a non-zero or non-empty "
        "correlation ID"
    )


def long_sequence_id(longest: int) -> InvalidRequest:
    """A string that is too long for a correlation id."""
    return InvalidRequest(f"string correlation ID must be at most {longest} bytes")


def sequence_id_type(given: str, datatype: str) -> InvalidRequest:
    """A correlation id that the model's control input cannot hold."""
    return InvalidRequest(f"correlation ID '{given}' is no {datatype}, which the model takes")
