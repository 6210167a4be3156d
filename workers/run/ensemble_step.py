"""One step of an ensemble, as the worker of that step's model has it.

A request for an ensemble carries the ensemble's tensors under the ensemble's names. Here the
model's inputs are found among them, so that the worker runs the job together with all others; at
its end the model's outputs get the ensemble's names, and what no later step needs is left behind.
Between the stages of a pipeline that is one step, tensors that only the pipeline knows travel
along under names of their own.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from penstock.clock import bounded_ms_of_us
from penstock.errors import InvalidRequest
from penstock.models.config.dataflow import fits
from penstock.models.config.policies import COUNTED_BYTES, QueueLimits, noted, within
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.protos.grpc_service_pb2 import InferParameter, ModelInferRequest
from penstock.recent import kept
from penstock.scheduler.decisions.urgency import level_of, queue_timeout_us
from penstock.scheduler.jobs.handoff import Destination
from penstock.scheduler.jobs.types import Move
from penstock.workers.run.tensor import Tensor

_INSIDE: Final = "\x1f"
"""Before the name of a tensor between two stages of one step; no client can send such a name."""

_ABSENT: Final = InferParameter()

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class EnsembleStep:
    """A step, and the way from there.

    Attributes:
        following: the steps from the next one on.
        rest_of_route: as the next step's worker reads it; empty at the last step.
        outputs: the ensemble's, in order.
        bounds: what no queue on the way may exceed.
    """

    route_step: pb.RouteStep
    following: tuple[pb.RouteStep, ...]
    rest_of_route: str
    version: int
    outputs: tuple[str, ...]
    bounds: QueueLimits

    @property
    def next_step(self) -> pb.RouteStep | None:
        """The one behind it, if there is one."""
        return self.following[0] if self.following else None

    def map_inputs(self, tensors: Tensors) -> dict[str, Tensor]:
        """The tensors that the job carries, as the model knows them."""
        found = {
            name: tensors[tensor]
            for name, tensor in self.route_step.inputs.items()
            if tensor in tensors
        }
        for name, tensor in tensors.items():
            if name.startswith(_INSIDE):
                found[name.removeprefix(_INSIDE)] = tensor
        return found

    def map_outputs(
        self, ensemble_tensors: Tensors, results: Tensors, model_inputs: Tensors
    ) -> dict[str, Tensor]:
        """The ensemble's tensors once the step is done.

        Args:
            ensemble_tensors: the tensors that came with the job.
            results: what the model's last stage wrote.
            model_inputs: what it read, and what came with it from earlier stages.
        """
        written = {
            tensor: results.get(name) or model_inputs[name]
            for name, tensor in self.route_step.outputs.items()
        }
        return {**ensemble_tensors, **written}

    def between(
        self,
        ensemble_tensors: Tensors,
        results: Tensors,
        model_inputs: Tensors,
        keeps: Iterable[str],
    ) -> dict[str, Tensor]:
        """What travels from one stage of the step to the next.

        Args:
            keeps: the model's tensors that its later stages need.
        """
        written = set(self.route_step.outputs.values())
        needed = {tensor for tensor in self.route_step.keeps if tensor not in written}
        inside: dict[str, Tensor] = {}
        for name in keeps:
            if name in self.route_step.inputs:
                needed.add(self.route_step.inputs[name])
            else:
                inside[_INSIDE + name] = results.get(name) or model_inputs[name]
        return {n: t for n, t in ensemble_tensors.items() if n in needed} | inside

    def move(
        self, job: str, head: ModelInferRequest, tensors: Tensors, payload: bytes
    ) -> tuple[Destination, Move]:
        """Where the job queues for the next step, and how, with *payload*."""
        after = self.next_step
        if after is None:
            raise AssertionError("the last step has no next one")
        asked = head.parameters
        wanted = asked.get("priority", _ABSENT)
        level = level_of(
            wanted.int64_param or wanted.uint64_param, after.levels, after.default_level
        )
        policy = noted(after, level)
        timeout_us = asked.get("timeout", _ABSENT).int64_param
        wait_us = queue_timeout_us(timeout_us, policy.timeout_us, may_shorten=policy.may_shorten)
        small, bulky = within(policy.limits, self.bounds)
        to = Destination(
            StageRef(after.model, after.version, 0, after.revision_id),
            small if len(payload) < COUNTED_BYTES else bulky,
        )
        return to, Move(
            job=job,
            rows=_rows(after, tensors),
            priority=level,
            begin_within_ms=bounded_ms_of_us(wait_us),
            payload=payload,
        )

    def check(self, model_inputs: Tensors, inputs: Iterable[pb.TensorSpec], most_rows: int) -> None:
        """Refuse what an earlier step wrote and this one cannot take, in Triton's words.

        Args:
            model_inputs: what the step's model would read.
            inputs: what its model takes, with full shapes.
            most_rows: of one request.
        """
        model, rows = self.route_step.model, set[int]()
        for spec in inputs:
            tensor = model_inputs.get(spec.name)
            if tensor is None:
                continue
            if not fits(tensor.shape, spec.shape):
                expected, got = _shape(spec.shape), _shape(tensor.shape)
                raise self._refusal(
                    f"unexpected shape for input '{spec.name}' for model '{model}'. Expected "
                    f"{expected}, got {got}"
                )
            if self.route_step.batched:
                rows.add(tensor.shape[0])
            if len(rows) > 1:
                raise self._refusal(
                    f"input '{spec.name}' batch size does not match other inputs for '{model}'"
                )
        if max(rows, default=0) > most_rows:
            raise self._refusal(
                f"inference request batch-size must be <= {most_rows} for '{model}'"
            )

    def _refusal(self, text: str) -> InvalidRequest:
        return InvalidRequest(self.reworded(text))

    def reworded(self, message: str) -> str:
        """A failure in this step, in words that name it."""
        step = self.route_step
        named = message if f"'{step.model}'" in message else f"{message} (step '{step.model}')"
        return "".join(f"in ensemble '{name}', " for name in step.within) + named


@kept(512)
def ensemble_step_of(text: str) -> EnsembleStep:
    """The first step of a route, as it travels in a request's parameter.

    Raises:
        InvalidRequest: it is no route.
    """
    try:
        route = pb.Route.FromString(b64decode(text))
    except (ValueError, DecodeError) as error:
        raise InvalidRequest(f"the request's route cannot be read: {error}") from error
    if not route.steps:
        raise InvalidRequest("the request's route has no steps")
    rest = pb.Route()
    rest.CopyFrom(route)
    del rest.steps[0]
    rest_of_route = (
        b64encode(rest.SerializeToString(deterministic=True)).decode() if rest.steps else ""
    )
    return EnsembleStep(
        route_step=route.steps[0],
        following=tuple(rest.steps),
        rest_of_route=rest_of_route,
        version=route.version,
        outputs=tuple(route.outputs),
        bounds=QueueLimits(route.most_jobs, route.most_bytes),
    )


def _rows(step: pb.RouteStep, tensors: Tensors) -> int:
    if not step.batched:
        return 1
    shape: Sequence[int] = tensors[min(step.inputs.values())].shape
    return shape[0] if shape else 1


def _shape(dims: Iterable[int]) -> str:
    return f"[{','.join(map(str, dims))}]"
