"""From a job's payload to arrays, and from results to the next payload or the reply.

The payload is a serialized ModelInferRequest: the client's own in the first stage, afterwards one
whose inputs are the tensors that later stages and the reply need. Raw tensors are viewed in
place; each is copied once, when the message that carries it on is joined.
"""

import json
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from google.protobuf.message import DecodeError

from penstock.arena import is_handle
from penstock.errors import Code, InvalidRequest, PenstockError
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire
from penstock.scheduler.jobs import PARTS, ROUTE, TRACE, Lease
from penstock.tensors import Array, to_raw
from penstock.workers.legs import Leg, leg_of
from penstock.workers.tensor import Tensor

PATH = "penstock_path"
"""A parameter: in a request (bool) it asks for the way taken, in a reply (string) it tells it."""

_RESERVED = frozenset(
    {
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "headers",
        "binary_data_output",
    }
)
_RESERVED_STARTS = ("triton_", "penstock_")
_SPLIT_FROM_BYTES = 16_384


class PayloadLost(PenstockError):
    """The store has the job and no longer its data."""

    code = Code.UNAVAILABLE


class PayloadOutOfReach(PayloadLost):
    """The job's data is in its gateway's memory, which this worker cannot read: see `Lender`."""

    code = Code.DATA_LOSS


_NOTHING: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(slots=True)
class Work:
    """A claimed job, decoded.

    Attributes:
        head: the request without its tensors' bytes.
        tensors: all that the job carries, by name.
        shape_key: equal for jobs that can run in one batch.
        ends_s: its deadline on this process's monotonic clock.
        revoked: it was cancelled, or its lease was lost; set by the renewal.
        leg: of a job of an ensemble; its tensors are those that the model knows.
        carried: the tensors that such a job came with, under the ensemble's names.
    """

    lease: Lease
    head: pb.ModelInferRequest
    tensors: dict[str, Tensor]
    shape_key: Hashable
    ends_s: float
    revoked: bool = False
    leg: Leg | None = None
    carried: Mapping[str, Tensor] = field(default_factory=lambda: _NOTHING)

    @property
    def rows(self) -> int:
        """Items along the batch dimension; 1 for models without one."""
        return self.lease.rows

    @property
    def alone(self) -> bool:
        """It must run by itself."""
        return self.lease.alone


def decode(
    lease: Lease,
    consumes: Sequence[str],
    *,
    batched: bool,
    now_s: float,
    optional: frozenset[str] = frozenset(),
    by_parameters: bool = False,
) -> Work:
    """Read a job.

    Args:
        optional: those of *consumes* that the request may lack.
        by_parameters: requests that differ in their own parameters must not share a batch.

    Raises:
        InvalidRequest: the payload is damaged, or lacks a tensor that the stage consumes.
        PayloadLost: there is none, or only a handle of one.
    """
    head, raws = _read(lease.payload)
    if len(raws) != len(head.inputs):
        raise InvalidRequest(f"{len(head.inputs)} inputs, but data for {len(raws)}")
    tensors = {
        entry.name: Tensor(entry.datatype, tuple(entry.shape), raw)
        for entry, raw in zip(head.inputs, raws, strict=True)
    }
    leg: Leg | None = None
    carried = _NOTHING
    if ROUTE in head.parameters:
        leg, carried = leg_of(head.parameters[ROUTE].string_param), tensors
        tensors = leg.board(carried)
    missing = [name for name in consumes if name not in tensors]
    if missing:
        if not optional.issuperset(missing):
            raise InvalidRequest(f"the stage's inputs {missing} are missing")
        consumes = [name for name in consumes if name in tensors]
    start = 1 if batched else 0
    key: Hashable = tuple(
        (tensors[name].datatype, tensors[name].shape[start:]) for name in consumes
    )
    if missing:
        key = key, tuple(missing)
    if by_parameters:
        key = key, _parameters_key(head)
    ends_s = now_s + lease.remaining_ms / 1000
    if leg is None:
        return Work(lease, head, tensors, key, ends_s)
    return Work(lease, head, tensors, key, ends_s, leg=leg, carried=carried)


def _parameters_key(head: pb.ModelInferRequest) -> Hashable:
    """Equal for requests whose own parameters are."""
    given = custom_parameters(head).items()
    # By type as well: 1, 1.0 and True are equal in Python, and not to a model.
    return tuple(sorted((name, type(value).__name__, value) for name, value in given))


def next_payload(
    work: Work,
    results: Mapping[str, Tensor],
    keeps: Sequence[str],
    waypoint: str,
    onward: str | None = None,
) -> bytes:
    """The request for the next stage: the tensors that *keeps* names, and the rest as it was.

    Args:
        onward: the route from there, where an ensemble's next step begins.
    """
    tail = pb.ModelInferRequest()
    tail.CopyFrom(work.head)
    del tail.inputs[:]
    if wants_path(work.head):
        tail.parameters[PATH].string_param = path(work, waypoint)
    if TRACE in work.head.parameters:
        tail.parameters[TRACE].string_param = timings(work, waypoint)
    if onward is not None:
        tail.parameters[ROUTE].string_param = onward
    keeps = [name for name in keeps if name in results or name in work.tensors]
    tensors = [results.get(name) or work.tensors[name] for name in keeps]
    parts: list[wire.Buffer] = [tail.SerializeToString()]
    names_and_types = tuple((n, t.datatype, t.shape) for n, t in zip(keeps, tensors, strict=True))
    parts.append(_input_entries(names_and_types))
    for tensor in tensors:
        parts += wire.raw_input_field(tensor.raw)
    return b"".join(parts)


def reply(
    work: Work, results: Mapping[str, Tensor], outputs: Sequence[str], version: int, waypoint: str
) -> bytes:
    """The client's ModelInferResponse: raw outputs, those it asked for or else all."""
    head = work.head
    names = [entry.name for entry in head.outputs] or outputs
    tensors = [results.get(name) or work.tensors[name] for name in names]
    described = tuple((n, t.datatype, t.shape) for n, t in zip(names, tensors, strict=True))
    parts: list[wire.Buffer] = [_reply_start(head.model_name, version, described)]
    traced = TRACE in head.parameters
    if head.id or traced or wants_path(head):
        rest = pb.ModelInferResponse(id=head.id)
        if traced:
            rest.parameters[TRACE].string_param = timings(work, waypoint)
        if wants_path(head):
            rest.parameters[PATH].string_param = path(work, waypoint)
        parts.append(rest.SerializeToString())
    for tensor in tensors:
        parts += wire.raw_output_field(tensor.raw)
    return b"".join(parts)


def end_of_parts(work: Work, version: int, waypoint: str, parts: int) -> bytes:
    """The end of a reply in *parts*: a ModelInferResponse without outputs that counts them."""
    head = work.head
    end = pb.ModelInferResponse(id=head.id, model_name=head.model_name, model_version=str(version))
    end.parameters[PARTS].int64_param = parts
    if TRACE in head.parameters:
        end.parameters[TRACE].string_param = timings(work, waypoint)
    if wants_path(head):
        end.parameters[PATH].string_param = path(work, waypoint)
    return end.SerializeToString()


def custom_parameters(head: pb.ModelInferRequest) -> dict[str, bool | int | float | str]:
    """The request's parameters but those that mean something to servers, and not to models."""
    found: dict[str, bool | int | float | str] = {}
    for key in head.parameters:
        value = head.parameters[key]
        kind = value.WhichOneof("parameter_choice")
        if kind is not None and key not in _RESERVED and not key.startswith(_RESERVED_STARTS):
            found[key] = getattr(value, kind)
    return found


def state_after(work: Work, results: Mapping[str, Tensor], states: Mapping[str, str]) -> bytes:
    """What the next request of the work's sequence is given: *states* maps outputs to inputs."""
    tensors = [results.get(name) or work.tensors[name] for name in states]
    described = tuple(
        (name, t.datatype, t.shape) for name, t in zip(states.values(), tensors, strict=True)
    )
    parts: list[wire.Buffer] = [_input_entries(described)]
    for tensor in tensors:
        parts += wire.raw_input_field(tensor.raw)
    return b"".join(parts)


def wants_path(head: pb.ModelInferRequest) -> bool:
    """Whether the client asked to be told which processes its request went through."""
    if PATH not in head.parameters:
        return False
    asked = head.parameters[PATH]
    return asked.bool_param or bool(asked.string_param)


def path(work: Work, waypoint: str) -> str:
    """The way so far, from the gateway to *waypoint*."""
    so_far = work.head.parameters[PATH].string_param or work.lease.gateway
    return f"{so_far} > {waypoint}"


def timings(work: Work, waypoint: str) -> str:
    """What the workers of a traced request say so far, *waypoint* included (`jobs.TRACE`)."""
    before = json.loads(work.head.parameters[TRACE].string_param or "[]")
    staged_s = work.ends_s - work.lease.remaining_ms / 1000
    waited_us = work.lease.wait_us - sum(entry["queue_us"] for entry in before)
    work_us = int((time.monotonic() - staged_s) * 1e6)
    return json.dumps([*before, {"step": waypoint, "queue_us": waited_us, "work_us": work_us}])


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
    if datatype != "BYTES" and array.flags.c_contiguous and array.dtype.isnative and array.size:
        # A view of the batch's results: copied when the reply is joined.
        return Tensor(datatype, array.shape, array.reshape(-1).view(np.uint8).data)
    return Tensor(datatype, array.shape, to_raw(array))


def _read(payload: bytes | None) -> tuple[pb.ModelInferRequest, Sequence[wire.Buffer]]:
    """The request without its tensors' bytes, and these."""
    if payload is None:
        raise PayloadLost("the request's data was lost in the queue; send it again")
    if is_handle(payload):
        raise PayloadOutOfReach("the request's data cannot be read from here")
    try:
        return _parse(payload)
    except (DecodeError, wire.Malformed) as error:
        raise InvalidRequest(f"the request cannot be read: {error}") from error


def _parse(payload: bytes) -> tuple[pb.ModelInferRequest, Sequence[wire.Buffer]]:
    if len(payload) < _SPLIT_FROM_BYTES:
        head = pb.ModelInferRequest.FromString(payload)
        raws: Sequence[wire.Buffer] = list(head.raw_input_contents)
        del head.raw_input_contents[:]
        return head, raws
    rest, raws = wire.split_request(payload)
    return pb.ModelInferRequest.FromString(rest), raws


Described = tuple[tuple[str, str, tuple[int, ...]], ...]


@lru_cache(maxsize=512)
def _reply_start(model: str, version: int, tensors: Described) -> bytes:
    return pb.ModelInferResponse(
        model_name=model,
        model_version=str(version),
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=shape)
            for name, datatype, shape in tensors
        ],
    ).SerializeToString()


@lru_cache(maxsize=512)
def _input_entries(tensors: Described) -> bytes:
    return pb.ModelInferRequest(
        inputs=[
            pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
            for name, datatype, shape in tensors
        ]
    ).SerializeToString()
