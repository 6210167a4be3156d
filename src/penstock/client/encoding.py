"""Arrays to requests, replies to arrays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import InvalidRequest
from penstock.protos.contents import raw_from_contents
from penstock.protos.grpc_service_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from penstock.tensors import (
    Array,
    bf16_from_float32,
    datatype_of,
    float32_from_bf16,
    from_raw,
    to_raw,
)

ParameterValue = bool | int | float | str


@dataclass(frozen=True, slots=True)
class BFloat16:
    """An array of bfloat16, for which numpy has no type.

    Attributes:
        bits: uint16, the upper halves of float32.
    """

    bits: npt.NDArray[np.uint16]


def bf16(array: npt.ArrayLike) -> BFloat16:
    """*array*, rounded to bfloat16, as an input."""
    return BFloat16(bf16_from_float32(np.asarray(array, dtype=np.float32)))


Input = npt.ArrayLike | BFloat16


class InferResult(Mapping[str, Array]):
    """A reply: its outputs by name, read from the message when they are asked for.

    BF16 outputs come as float32, which holds each of them exactly; BYTES as arrays of bytes.
    """

    def __init__(self, response: ModelInferResponse) -> None:
        self._response = response
        self._positions = {output.name: at for at, output in enumerate(response.outputs)}

    def __getitem__(self, name: str) -> Array:
        at = self._positions[name]
        output = self._response.outputs[at]
        raws = self._response.raw_output_contents
        raw = raws[at] if raws else raw_from_contents(output.datatype, output.contents)
        array = from_raw(raw, output.datatype, output.shape)
        return float32_from_bf16(array) if output.datatype == "BF16" else array

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)

    def __repr__(self) -> str:
        outputs = ", ".join(
            f"{output.name}: {output.datatype}{list(output.shape)}"
            for output in self._response.outputs
        )
        return f"<InferResult of {self.model_name} {self.model_version}: {outputs}>"

    @property
    def model_name(self) -> str:
        """The model that answered."""
        return self._response.model_name

    @property
    def model_version(self) -> int:
        """The version that answered."""
        return int(self._response.model_version)

    @property
    def id(self) -> str:
        """The request's id."""
        return self._response.id

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        """The reply's parameters."""
        return {key: _value_of(value) for key, value in self._response.parameters.items()}

    def datatype(self, name: str) -> str:
        """The wire datatype of an output."""
        return self._response.outputs[self._positions[name]].datatype


def infer_request(
    model: str,
    inputs: Mapping[str, Input],
    *,
    version: int | None = None,
    outputs: Sequence[str] | None = None,
    request_id: str | None = None,
    priority: int | None = None,
    parameters: Mapping[str, ParameterValue] | None = None,
) -> ModelInferRequest:
    """The message that asks *model* for *outputs*; None asks for all of them.

    Raises:
        InvalidRequest: an array or a parameter of a type that the protocol does not have.
    """
    request = ModelInferRequest(
        model_name=model,
        model_version="" if version is None else str(version),
        id=request_id or "",
    )
    for name, value in inputs.items():
        datatype, array = _typed(value)
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(to_raw(array))
    for name in outputs or ():
        request.outputs.add(name=name)
    given = {**(parameters or {}), **({"priority": priority} if priority else {})}
    for key, parameter in given.items():
        request.parameters[key].CopyFrom(_parameter(key, parameter))
    return request


def _typed(value: Input) -> tuple[str, Array]:
    if isinstance(value, BFloat16):
        return "BF16", value.bits
    array: npt.NDArray[Any] = np.asarray(value)
    if array.dtype.name == "bfloat16":  # the package ml_dtypes adds it to numpy
        return "BF16", array.view(np.uint16)
    return datatype_of(array), array


def _parameter(key: str, value: ParameterValue) -> InferParameter:
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int):
        return InferParameter(int64_param=value)
    if isinstance(value, float):
        return InferParameter(double_param=value)
    if isinstance(value, str):
        return InferParameter(string_param=value)
    raise InvalidRequest(f"parameter '{key}' must be a bool, int, float or str")


def _value_of(parameter: InferParameter) -> ParameterValue:
    kind = parameter.WhichOneof("parameter_choice")
    value: ParameterValue = getattr(parameter, kind) if kind else ""
    return value
