"""Work: a claimed job, decoded, and what its request's parameters say."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.types import Lease, Outcome, Timing
from penstock.workers.run.ensemble_step import EnsembleStep
from penstock.workers.run.tensor import Tensor

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

_NOTHING: Mapping[str, Tensor] = MappingProxyType({})


class ResultSink(Protocol):
    """Where jobs came from, which hears what becomes of them; each call is about one claim."""

    def settle(self, token: str, rows: int, timing: Timing, outcomes: Sequence[Outcome]) -> None:
        """Jobs of a batch of *rows* rows have ended; 0 where nothing was computed."""

    def give_back(self, token: str, jobs: Sequence[str]) -> None:
        """Jobs were not begun."""

    async def break_off(self) -> None:
        """The device broke while it had the jobs that are left: one may have been the reason."""


@dataclass(slots=True)
class Work:
    """A claimed job, decoded.

    Attributes:
        head: the request without its id and its tensors' bytes; others may have the same.
        id: the request's.
        tensors: all that the job carries, by name.
        shape_key: equal for jobs that can run in one batch.
        ends_s: its deadline on this process's monotonic clock.
        revoked: it was cancelled, or its lease was lost; set by the renewal.
        given_back: others may have it, for the batch before it takes too long; so, too.
        begun: it is in a batch that runs or has run.
        ensemble_step: of a job of an ensemble; its tensors are those that the model knows.
        ensemble_tensors: the tensors that such a job came with, under the ensemble's names.
        sink: hears what becomes of it; set by the worker that takes it.
    """

    lease: Lease
    head: pb.ModelInferRequest
    id: str
    tensors: dict[str, Tensor]
    shape_key: Hashable
    ends_s: float
    revoked: bool = False
    given_back: bool = False
    begun: bool = False
    ensemble_step: EnsembleStep | None = None
    ensemble_tensors: Mapping[str, Tensor] = field(default_factory=lambda: _NOTHING)
    sink: ResultSink = field(init=False, repr=False, compare=False)

    @property
    def rows(self) -> int:
        """Items along the batch dimension; 1 for models without one."""
        return self.lease.rows

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum([len(tensor.raw) for tensor in self.tensors.values()])

    @property
    def alone(self) -> bool:
        """It must run by itself."""
        return self.lease.alone

    @property
    def waited_us(self) -> int:
        """Microseconds that it had waited in the queue when it was taken."""
        return self.lease.wait_us


def custom_parameters(head: pb.ModelInferRequest) -> dict[str, bool | int | float | str]:
    """The request's parameters but those that mean something to servers, and not to models."""
    given = own_parameters(head.parameters)
    return {key: value for key, value in given.items() if key not in _RESERVED}


def own_parameters(
    parameters: Mapping[str, pb.InferParameter],
) -> dict[str, bool | int | float | str]:
    """All *parameters* that a client or a model gave, without those that the way added."""
    found: dict[str, bool | int | float | str] = {}
    for key, value in parameters.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is not None and not key.startswith(_RESERVED_STARTS):
            found[key] = getattr(value, kind)
    return found


def wants_path(head: pb.ModelInferRequest) -> bool:
    """Whether the client asked to be told which processes its request went through."""
    if PATH not in head.parameters:
        return False
    asked = head.parameters[PATH]
    return asked.bool_param or bool(asked.string_param)
