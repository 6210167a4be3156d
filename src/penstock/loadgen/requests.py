"""Requests for any model: its inputs from what the server says of it, filled at random or given.

Generated integers are small (0 to 7), so that they are valid tokens and indices; floats are
standard normal. The same seed makes the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc
import numpy as np

from penstock.client.access import Access
from penstock.client.failures import nobody_answers
from penstock.errors import Code, InvalidRequest, JobFailed, PenstockError
from penstock.loadgen.generator import Call, Unreachable
from penstock.loadgen.plan import METHOD
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc
from penstock.tensors import NUMPY_TYPES, Array, bf16_from_float32, element_count, to_raw
from penstock.transport.credentials import NONE, Credentials

_PATIENCE_S = 5.0
_FIRST_ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Input:
    """An input that a request must have; -1 in *shape* where a size is free."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """What must be known of a model to call it.

    Attributes:
        version: "" for the one that the server chooses.
        max_batch_size: 0 when dimension 0 is not a batch.
    """

    name: str
    version: str
    inputs: tuple[Input, ...]
    max_batch_size: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """How requests shall look.

    Attributes:
        batch: items in each request.
        shapes: by input, without the batch; for inputs with free sizes.
        arrays: by input: the very data to send.
        distinct: how many different requests to make.
    """

    batch: int = 1
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    distinct: int = 8
    seed: int = 0


async def describe(
    target: str, name: str, version: str = "", credentials: Credentials = NONE
) -> Model:
    """Ask the server at *target* about a model.

    Raises:
        Unreachable: nobody answers there.
        PenstockError: with the server's code and text, as for an unknown model.
    """
    access = Access.of(target, credentials)
    how = {"timeout": _PATIENCE_S, "metadata": access.metadata()}
    async with access.aio_channel() as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            metadata = await stub.ModelMetadata(
                pb.ModelMetadataRequest(name=name, version=version), **how
            )
            reply = await stub.ModelConfig(pb.ModelConfigRequest(name=name, version=version), **how)
        except grpc.aio.AioRpcError as error:
            raise refusal(error, target) from None
    optional = {tensor.name for tensor in reply.config.input if tensor.optional}
    inputs = tuple(
        Input(tensor.name, tensor.datatype, tuple(tensor.shape))
        for tensor in metadata.inputs
        if tensor.name not in optional
    )
    return Model(name, version, inputs, reply.config.max_batch_size)


async def first_answer(target: str, request: bytes, credentials: Credentials = NONE) -> bytes:
    """Send one request, so that a mistake shows before the load does.

    Raises:
        PenstockError: with the server's code and text.
    """
    unlimited = ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)
    access = Access.of(target, credentials)
    async with access.aio_channel(*unlimited) as channel:
        call: Call = channel.unary_unary(METHOD)
        try:
            answer: bytes = await call(request, timeout=_FIRST_ANSWER_S, metadata=access.metadata())
        except grpc.aio.AioRpcError as error:
            raise refusal(error, target) from None
    return answer


def refusal(error: grpc.aio.AioRpcError, target: str) -> PenstockError:
    """What the server answered, as an error for people."""
    code = Code(error.code().value[0])
    text = error.details() or code.name
    if code is Code.UNAVAILABLE and nobody_answers(text):
        return Unreachable(target)
    if code is Code.DEADLINE_EXCEEDED:
        text = f"the server at {target} has not answered in time"
    return JobFailed(code, text)


def make_requests(model: Model, wanted: Wanted) -> tuple[bytes, ...]:
    """Serialized requests for *model*, different from each other where data is generated.

    Raises:
        InvalidRequest: saying which size or input is missing, or does not exist.
    """
    known = {tensor.name for tensor in model.inputs}
    if unknown := sorted({*wanted.shapes, *wanted.arrays} - known):
        raise InvalidRequest(
            f"model '{model.name}' has no input '{unknown[0]}', it has {', '.join(sorted(known))}"
        )
    if model.max_batch_size == 0 and wanted.batch > 1:
        raise InvalidRequest(f"model '{model.name}' does not batch, --batch must be 1")
    if wanted.batch > model.max_batch_size > 0:
        raise InvalidRequest(
            f"model '{model.name}' takes at most {model.max_batch_size} items in a request"
        )
    random = np.random.default_rng(wanted.seed)
    generated = any(tensor.name not in wanted.arrays for tensor in model.inputs)
    return tuple(
        _request(model, wanted, random) for _ in range(wanted.distinct if generated else 1)
    )


def _request(model: Model, wanted: Wanted, random: np.random.Generator) -> bytes:
    request = pb.ModelInferRequest(model_name=model.name, model_version=model.version)
    for tensor in model.inputs:
        given = wanted.arrays.get(tensor.name)
        if given is None:
            array = _random(tensor.datatype, _shape(model, tensor, wanted), random)
        else:
            array = _fitted(given, model, tensor, wanted.batch)
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=array.shape)
        request.raw_input_contents.append(to_raw(array))
    return request.SerializeToString()


def _shape(model: Model, tensor: Input, wanted: Wanted) -> tuple[int, ...]:
    sizes = tensor.shape[1:] if model.max_batch_size > 0 else tensor.shape
    sizes_wanted = wanted.shapes.get(tensor.name)
    if sizes_wanted is not None:
        sizes = tuple(sizes_wanted)
    elif -1 in sizes:
        text = "x".join("?" if size == -1 else str(size) for size in sizes)
        raise InvalidRequest(
            f"input '{tensor.name}' has free sizes, give them: --shape {tensor.name}={text}"
        )
    return (wanted.batch, *sizes) if model.max_batch_size > 0 else sizes


def _fitted(array: Array, model: Model, tensor: Input, batch: int) -> Array:
    """*array* in the input's datatype; one item is repeated to fill the batch."""
    wanted = NUMPY_TYPES[tensor.datatype]
    if wanted.kind != "O" and array.dtype != wanted:
        if not np.can_cast(array.dtype, wanted, casting="same_kind"):
            raise InvalidRequest(
                f"input '{tensor.name}' is {tensor.datatype}, the array given for it is "
                f"{array.dtype}"
            )
        array = array.astype(wanted)
    if model.max_batch_size > 0 and array.ndim == len(tensor.shape) - 1:
        return np.repeat(array[np.newaxis], batch, axis=0)
    return array


def _random(datatype: str, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    dtype = NUMPY_TYPES[datatype]
    if datatype == "BYTES":
        words = [random.bytes(8).hex() for _ in range(element_count(shape))]
        return np.array(words, dtype=np.object_).reshape(shape)
    if datatype == "BF16":
        return bf16_from_float32(random.standard_normal(shape, dtype=np.float32))
    if dtype.kind == "f":
        return random.standard_normal(shape, dtype=np.float32).astype(dtype)
    return random.integers(0, 2 if dtype.kind == "b" else 8, size=shape).astype(dtype)
