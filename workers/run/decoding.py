"""From a job's payload to its tensors.

The payload is a serialized ModelInferRequest: the client's own in the first stage, afterwards one
whose inputs are the tensors that later stages and the reply need. Raw tensors are viewed in place.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from penstock.errors import Code, InvalidRequest, PenstockError
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire
from penstock.protos.request_heads import RequestHeads
from penstock.scheduler.jobs.types import ROUTE, Lease, Missing
from penstock.workers.run.ensemble_step import EnsembleStep, ensemble_step_of
from penstock.workers.run.tensor import Tensor
from penstock.workers.run.work import Work, custom_parameters

_MOST_FIELDS: Final = 4 * wire.MOST_FIELDS
"""A request's own, and what was put behind it on its way."""


class PayloadLost(PenstockError):
    """The store no longer has the job's data."""

    code = Code.UNAVAILABLE


class PayloadOutOfReach(PayloadLost):
    """The job's data is in its gateway's memory, which this worker cannot read: see `Lender`."""

    code = Code.DATA_LOSS


class _Known(NamedTuple):
    """What the head of a request tells of it.

    Attributes:
        head: the request without its id and its tensors' bytes.
        tensors: name, datatype and shape of each.
        shape_key: equal for jobs that can run in one batch.
        ensemble_step: of a job of an ensemble.
    """

    head: pb.ModelInferRequest
    tensors: list[tuple[str, str, tuple[int, ...]]]
    shape_key: Hashable
    ensemble_step: EnsembleStep | None


class Decoder:
    """Reads the jobs of one stage."""

    def __init__(
        self,
        consumes: Sequence[str],
        *,
        batched: bool,
        optional: frozenset[str] = frozenset(),
        by_parameters: bool = False,
    ) -> None:
        """*consumes*: names of the tensors that the stage's shard reads.

        Args:
            batched: tensors have a batch dimension in front.
            optional: those of *consumes* that a request may lack.
            by_parameters: requests that differ in their own parameters must not share a batch.
        """
        self._consumes = consumes
        self._start = 1 if batched else 0
        self._optional = optional
        self._by_parameters = by_parameters
        self._known: RequestHeads[_Known] = RequestHeads()

    def decode(self, lease: Lease, now_s: float) -> Work:
        """Read a job.

        Raises:
            InvalidRequest: the payload is damaged, or lacks a tensor that the stage consumes.
            PayloadLost: it is missing.
        """
        head, id_, raws = _taken_apart(lease.payload)
        known = self._known.get(head) or self._read(head)
        if len(raws) != len(known.tensors):
            raise InvalidRequest(f"{len(known.tensors)} inputs, but data for {len(raws)}")
        tensors = {
            name: Tensor(datatype, shape, raw)
            for (name, datatype, shape), raw in zip(known.tensors, raws, strict=True)
        }
        ends_s = now_s + lease.remaining_ms / 1000
        work = Work(lease, known.head, id_, tensors, known.shape_key, ends_s)
        if (step := known.ensemble_step) is not None:
            work.tensors = step.map_inputs(tensors)
            work.ensemble_step, work.ensemble_tensors = step, tensors
        return work

    def _read(self, serialized: bytes) -> _Known:
        try:
            head = pb.ModelInferRequest.FromString(serialized)
        except DecodeError as error:
            raise InvalidRequest(f"the request cannot be read: {error}") from error
        specs = [(entry.name, entry.datatype, tuple(entry.shape)) for entry in head.inputs]
        step = (
            ensemble_step_of(head.parameters[ROUTE].string_param)
            if ROUTE in head.parameters
            else None
        )
        tensors = {name: Tensor(datatype, shape, b"") for name, datatype, shape in specs}
        key = self._shape_key(head, tensors if step is None else step.map_inputs(tensors))
        known = _Known(head, specs, key, step)
        if all(name == ROUTE for name in head.parameters):
            self._known.remember(serialized, known)
        return known

    def _shape_key(self, head: pb.ModelInferRequest, tensors: Mapping[str, Tensor]) -> Hashable:
        missing = tuple(name for name in self._consumes if name not in tensors)
        if not self._optional.issuperset(missing):
            raise InvalidRequest(f"the stage's inputs {list(missing)} are missing")
        key: Hashable = tuple(
            (tensors[name].datatype, tensors[name].shape[self._start :])
            for name in self._consumes
            if name in tensors
        )
        if missing:
            key = key, missing
        if self._by_parameters:
            key = key, _parameters_key(head)
        return key


def _parameters_key(head: pb.ModelInferRequest) -> Hashable:
    """Equal for requests whose own parameters are."""
    given = custom_parameters(head).items()
    # By type as well: 1, 1.0 and True are equal in Python, and not to a model.
    return tuple(sorted((name, type(value).__name__, value) for name, value in given))


def _taken_apart(payload: bytes | memoryview | Missing) -> wire.Apart:
    if payload is Missing.LOST:
        raise PayloadLost(payload.value)
    if payload is Missing.OUT_OF_REACH:
        raise PayloadOutOfReach(payload.value)
    try:
        return wire.take_apart(payload, _MOST_FIELDS)
    except wire.Malformed as error:
        raise InvalidRequest(f"the request cannot be read: {error}") from error
