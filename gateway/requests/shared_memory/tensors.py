"""Tensors in shared memory regions: taken into a request, and put back from its reply.

Behind this module a request that uses regions looks like any other: its inputs are raw contents
in order. Entries of raw_input_contents belong to the inputs that are not in regions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from penstock.errors import InvalidRequest
from penstock.gateway.requests.shared_memory.regions import RequestTooLarge, TeamRegions
from penstock.protos import wire
from penstock.protos.contents import raw_from_contents
from penstock.protos.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from penstock.scheduler.requests import refusal_texts
from penstock.scheduler.requests.checks import expect, number

_REGION: Final = "shared_memory_region"
_SIZE: Final = "shared_memory_byte_size"
_OFFSET: Final = "shared_memory_offset"
_NUMBERS: Final = ("int64_param", "uint64_param")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor is, or is to be put."""

    region: str
    offset: int
    byte_size: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A request with its tensors taken out of regions.

    Attributes:
        message: the request, serialized.
        raws: its raw contents, one for each input.
        places: output -> where it is to be put.
    """

    request: ModelInferRequest
    message: bytes
    raws: list[wire.Buffer]
    places: Mapping[str, Place]


def uses_regions(request: ModelInferRequest) -> bool:
    """Whether any tensor of *request* is in a region, or is to be put into one."""
    return any(_REGION in tensor.parameters for tensor in request.inputs) or any(
        _REGION in output.parameters for output in request.outputs
    )


def take(
    request: ModelInferRequest,
    raws: Sequence[wire.Buffer] | None,
    regions: TeamRegions,
    typed: Mapping[str, bytes] | None = None,
) -> Taken:
    """Copy the inputs of *request* out of their regions; it is changed.

    Args:
        raws: its raw contents, where they were kept out of it.
        typed: the raw bytes of inputs with typed contents, by name, where they are known.

    Raises:
        RegionNotFound, InvalidRequest: a region, or a part of one, that there is not.
        RequestTooLarge: the inputs in regions have more bytes than a message may.
    """
    given = list(request.raw_input_contents if raws is None else raws)
    del request.raw_input_contents[:]
    contents = list(_contents(request, given, regions, typed or {}))
    places: dict[str, Place] = {}
    for output in request.outputs:
        if _REGION in output.parameters:
            if "classification" in output.parameters:
                raise InvalidRequest(
                    f"output '{output.name}' cannot be its classes and in shared memory, too"
                )
            place = places[output.name] = _place(output)
            regions.named(place.region).place(place.offset, place.byte_size)
    message = wire.with_raw_inputs(request.SerializeToString(), contents)
    return Taken(request, message, contents, places)


def put(reply: bytes, places: Mapping[str, Place], regions: TeamRegions) -> bytes:
    """Write outputs of a serialized ModelInferResponse into their regions.

    They stay in it without their data, and with the place.

    Raises:
        RegionNotFound, InvalidRequest: a region is gone, or an output does not fit.
    """
    head, raws = wire.split_response(reply)
    response = ModelInferResponse.FromString(head)
    left: list[wire.Buffer] = []
    for output, raw in zip(response.outputs, raws, strict=True):
        place = places.get(output.name)
        left.append(raw if place is None else b"")
        if place is None:
            continue
        if len(raw) > place.byte_size:
            raise InvalidRequest(
                f"shared memory size specified with the request for output '{output.name}' "
                f"({place.byte_size} bytes) should be at least {len(raw)} bytes to hold the results"
            )
        regions.named(place.region).write(place.offset, raw)
        output.parameters[_REGION].string_param = place.region
        output.parameters[_SIZE].int64_param = len(raw)
        output.parameters[_OFFSET].int64_param = place.offset
    return wire.with_raw_outputs(response.SerializeToString(), left)


def _contents(
    request: ModelInferRequest,
    given: Sequence[wire.Buffer],
    regions: TeamRegions,
    typed: Mapping[str, bytes],
) -> Iterator[wire.Buffer]:
    """The raw contents of each input, and what was given beyond."""
    rest, left = iter(given), regions.most_bytes
    for tensor in request.inputs:
        if _REGION in tensor.parameters:
            place = _place(tensor)
            left -= place.byte_size
            if left < 0:
                raise RequestTooLarge(
                    f"inputs in shared memory may have {regions.most_bytes} bytes altogether"
                )
            yield regions.named(place.region).read(place.offset, place.byte_size)
        elif tensor.HasField("contents"):
            if given:
                raise refusal_texts.mixed(request, tensor.name)
            known = typed.get(tensor.name)
            yield raw_from_contents(tensor.datatype, tensor.contents) if known is None else known
        else:
            raw = next(rest, None)
            if raw is None:
                raise refusal_texts.no_data(request, tensor.name)
            yield raw
        tensor.ClearField("contents")
    yield from rest


def _place(tensor: Any) -> Place:
    """The place that a tensor's parameters name; they are removed from it."""
    region = tensor.parameters[_REGION]
    expect(_REGION, region, "string_param")
    if _SIZE not in tensor.parameters:
        raise InvalidRequest(f"tensor '{tensor.name}' is in shared memory, but lacks '{_SIZE}'")
    size = number(_SIZE, tensor.parameters[_SIZE], *_NUMBERS)
    offset = 0
    if _OFFSET in tensor.parameters:
        offset = number(_OFFSET, tensor.parameters[_OFFSET], *_NUMBERS)
    place = Place(region.string_param, offset, size)
    for key in (_REGION, _SIZE, _OFFSET):
        tensor.parameters.pop(key, None)
    return place
