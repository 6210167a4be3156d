"""An ensemble as a gateway knows it: where requests for it begin, and what travels with them.

Behind the door they are jobs like all others, in the queue of their first step's model; the route
that a gateway puts behind each lets workers pass it on (ADR 0012).
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace

from penstock.models.completion import Deployment
from penstock.models.config.policies import QueueLimits, noted
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.scheduler.jobs.types import ROUTE, NewJob
from penstock.scheduler.requests.request_rules import Rules


@dataclass(frozen=True, slots=True)
class EnsembleRoute:
    """What a gateway needs to know of an ensemble's route.

    Attributes:
        name: of the ensemble.
        key: "<model>:<version>" of it.
        rules: what requests must be; how they queue is the first step's business.
        limits: of the first step's queue, for requests that ask for no level.
        refs: where all steps run.
        ordered: one of its models answers in the order of its requests; so does the ensemble.
        mark: behind a serialized request, it is the route.
        batch_input: the first step's rows are those of this input; None for a step without batches.
    """

    name: str
    key: str
    rules: Rules
    limits: QueueLimits
    refs: tuple[StageRef, ...]
    ordered: bool
    route: cluster_pb2.Route
    mark: bytes
    batch_input: str | None

    @classmethod
    def of(cls, deployment: Deployment, route: cluster_pb2.Route) -> "EnsembleRoute":
        """Made once for each *route* of a *deployment*."""
        first = route.steps[0]
        rules = Rules.of(deployment.config, deployment.inputs, deployment.outputs)
        policy = noted(first, first.default_level)
        refs = tuple(StageRef(s.model, s.version, 0, s.revision_id) for s in route.steps)
        return cls(
            name=route.ensemble,
            key=f"{route.ensemble}:{route.version}",
            rules=replace(
                rules,
                levels=first.levels,
                default_level=first.default_level,
                timeout_us=policy.timeout_us,
                may_shorten=policy.may_shorten,
                by_level={level: noted(first, level) for level in range(1, first.levels + 1)},
            ),
            limits=policy.limits,
            refs=refs,
            ordered=any(step.ordered for step in route.steps),
            route=route,
            mark=_mark(route),
            batch_input=min(first.inputs.values()) if first.batched else None,
        )

    def within(self, most: QueueLimits) -> "EnsembleRoute":
        """The same, with no larger queue than *most* on the way."""
        route = cluster_pb2.Route()
        route.CopyFrom(self.route)
        route.most_jobs, route.most_bytes = most.jobs, most.payload_bytes
        return replace(self, route=route, mark=_mark(route))

    @property
    def first(self) -> StageRef:
        """Where requests queue first."""
        return self.refs[0]

    def rows(self, request: ModelInferRequest) -> int:
        """Items along the batch dimension of the first step's model."""
        shapes = (one.shape for one in request.inputs if one.name == self.batch_input)
        shape: Sequence[int] = next(shapes, ())
        return shape[0] if shape else 1

    def placed(self, job: NewJob, request: ModelInferRequest) -> NewJob:
        """*job*, which *request* became, on its way through all steps."""
        return job.followed_by(self.mark)._replace(
            rows=self.rows(request), ensemble=self.key, later=self.refs[1:]
        )

    def reworded(self, error: str) -> str:
        """A step's failure, as the ensemble's clients are to read it."""
        return f"in ensemble '{self.name}', {error}"


def _mark(route: cluster_pb2.Route) -> bytes:
    carrier = ModelInferRequest()
    words = b64encode(route.SerializeToString(deterministic=True))
    carrier.parameters[ROUTE].string_param = words.decode()
    return carrier.SerializeToString()
