"""From a job's results to the next stage's payload, or to the reply.

A tensor is copied once on its way: when the message that carries it on is joined.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Final

import numpy as np

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire
from penstock.recent import kept
from penstock.scheduler.jobs.types import PARTS, ROUTE, TRACE
from penstock.tensors import Array, to_raw
from penstock.workers.run.tensor import Answer, Tensor
from penstock.workers.run.work import PATH, Work, wants_path

_VIEWED_FROM_BYTES: Final = 4096
"""A view costs as much as a copy of so much."""

_FIELD_OF: Final = {
    bool: "bool_param",
    int: "int64_param",
    float: "double_param",
    str: "string_param",
}


def next_payload(
    work: Work,
    results: Mapping[str, Tensor],
    keeps: Sequence[str],
    hop_name: str,
    rest_of_route: str | None = None,
) -> bytes:
    """The request for the next stage: the tensors that *keeps* names, and the rest as it was.

    Args:
        rest_of_route: the route from there, where an ensemble's next step begins.
    """
    tail = pb.ModelInferRequest()
    tail.CopyFrom(work.head)
    tail.id = work.id
    del tail.inputs[:]
    _put_way(tail.parameters, work, hop_name)
    if rest_of_route is not None:
        tail.parameters[ROUTE].string_param = rest_of_route
    keeps = [name for name in keeps if name in results or name in work.tensors]
    tensors = [results.get(name) or work.tensors[name] for name in keeps]
    return b"".join([tail.SerializeToString(), *_inputs(keeps, tensors)])


def reply(
    work: Work, results: Mapping[str, Tensor], outputs: Sequence[str], version: int, hop_name: str
) -> bytes:
    """The client's ModelInferResponse: raw outputs, those it asked for or else all."""
    head = work.head
    names = [entry.name for entry in head.outputs] if head.outputs else outputs
    given: Mapping[str, bool | int | float | str] = {}
    if isinstance(results, Answer):
        names, given = [name for name in names if name in results], results.parameters
    tensors = [results.get(name) or work.tensors[name] for name in names]
    described = tuple([(n, t.datatype, t.shape) for n, t in zip(names, tensors, strict=True)])
    parts: list[wire.Buffer] = [_reply_start(head.model_name, version, described)]
    if work.id or head.parameters or given:
        rest = pb.ModelInferResponse(id=work.id)
        put_parameters(rest.parameters, given)
        _put_way(rest.parameters, work, hop_name)
        parts.append(rest.SerializeToString())
    for tensor in tensors:
        parts += wire.raw_output_field(tensor.raw)
    return b"".join(parts)


def put_parameters(
    into: MutableMapping[str, pb.InferParameter], values: Mapping[str, bool | int | float | str]
) -> None:
    """Add *values* to a message's parameters."""
    for key, value in values.items():
        setattr(into[key], _FIELD_OF[type(value)], value)


def end_of_parts(work: Work, version: int, hop_name: str, parts: int) -> bytes:
    """The end of a reply in *parts*: a ModelInferResponse without outputs that counts them."""
    head = work.head
    end = pb.ModelInferResponse(id=work.id, model_name=head.model_name, model_version=str(version))
    end.parameters[PARTS].int64_param = parts
    _put_way(end.parameters, work, hop_name)
    return end.SerializeToString()


def state_after(work: Work, results: Mapping[str, Tensor], states: Mapping[str, str]) -> bytes:
    """What the next request of the work's sequence is given: *states* maps outputs to inputs."""
    tensors = [results.get(name) or work.tensors[name] for name in states]
    return b"".join(_inputs(states.values(), tensors))


def _inputs(names: Iterable[str], tensors: Iterable[Tensor]) -> Iterator[wire.Buffer]:
    """The inputs of a request, field by field: what they are, and then their contents."""
    described = tuple((n, t.datatype, t.shape) for n, t in zip(names, tensors, strict=True))
    yield _input_entries(described)
    for tensor in tensors:
        yield from wire.raw_input_field(tensor.raw)


def _put_way(into: MutableMapping[str, pb.InferParameter], work: Work, hop_name: str) -> None:
    """Add the way from the gateway to *hop_name*, and what workers say of times, if asked for."""
    if wants_path(work.head):
        so_far = work.head.parameters[PATH].string_param or work.lease.gateway
        into[PATH].string_param = f"{so_far} > {hop_name}"
    if TRACE in work.head.parameters:
        into[TRACE].string_param = _timings(work, hop_name)


def _timings(work: Work, hop_name: str) -> str:
    """What the workers of a traced request say so far, *hop_name* included (`jobs.TRACE`)."""
    before = json.loads(work.head.parameters[TRACE].string_param or "[]")
    staged_s = work.ends_s - work.lease.remaining_ms / 1000
    waited_us = work.lease.wait_us - sum(entry["queue_us"] for entry in before)
    work_us = int((time.monotonic() - staged_s) * 1e6)
    return json.dumps([*before, {"step": hop_name, "queue_us": waited_us, "work_us": work_us}])


def split_results(
    arrays: Mapping[str, Array], datatypes: Mapping[str, str], bounds: Iterable[tuple[int, int]]
) -> list[dict[str, Tensor]]:
    """Each member's share of a batch's results, cut along dimension 0 at its row *bounds*."""
    return [
        {name: _tensor(array[start:end], datatypes[name]) for name, array in arrays.items()}
        for start, end in bounds
    ]


def whole_results(arrays: Mapping[str, Array], datatypes: Mapping[str, str]) -> dict[str, Tensor]:
    """The results of one job that ran by itself."""
    return {name: _tensor(array, datatypes[name]) for name, array in arrays.items()}


def _tensor(array: Array, datatype: str) -> Tensor:
    if datatype == "BYTES" or not array.dtype.isnative:
        return Tensor(datatype, array.shape, to_raw(array))
    if array.nbytes < _VIEWED_FROM_BYTES or not array.flags.c_contiguous:
        return Tensor(datatype, array.shape, array.tobytes())
    # A view of the batch's results: copied when the reply is joined.
    return Tensor(datatype, array.shape, array.reshape(-1).view(np.uint8).data)


Described = tuple[tuple[str, str, tuple[int, ...]], ...]


@kept(512)
def _reply_start(model: str, version: int, tensors: Described) -> bytes:
    return pb.ModelInferResponse(
        model_name=model,
        model_version=str(version),
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=shape)
            for name, datatype, shape in tensors
        ],
    ).SerializeToString()


@kept(512)
def _input_entries(tensors: Described) -> bytes:
    return pb.ModelInferRequest(
        inputs=[
            pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
            for name, datatype, shape in tensors
        ]
    ).SerializeToString()
