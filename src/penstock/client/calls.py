"""What each call asks of a server, and what its answer says: the same for both clients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from penstock.client.channel import IDEMPOTENCY_KEY, Metadata
from penstock.client.encoding import InferResult
from penstock.protos import cluster_pb2, model_config_pb2
from penstock.protos import grpc_service_pb2 as pb

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call.

    Attributes:
        method: the RPC's name (`penstock.client.channel.methods_on`).
        read: makes what the caller gets of the answer.
    """

    method: str
    request: Any
    read: Callable[[Any], T]
    metadata: Metadata | None = None


def infer(request: pb.ModelInferRequest, idempotency_key: str | None) -> Call[InferResult]:
    """As `penstock.client.Client.infer`, and so on."""
    metadata = ((IDEMPOTENCY_KEY, idempotency_key),) if idempotency_key else None
    return Call("ModelInfer", request, InferResult, metadata)


def live() -> Call[bool]:
    """Whether a gateway answers."""
    return Call("ServerLive", pb.ServerLiveRequest(), lambda answer: answer.live)


def ready() -> Call[bool]:
    """Whether the cluster takes requests."""
    return Call("ServerReady", pb.ServerReadyRequest(), lambda answer: answer.ready)


def model_ready(model: str, version: int | None) -> Call[bool]:
    """Whether a model takes requests."""
    request = pb.ModelReadyRequest(name=model, version=_text(version))
    return Call("ModelReady", request, lambda answer: answer.ready)


def server_metadata() -> Call[pb.ServerMetadataResponse]:
    """The server's name, version and extensions."""
    return Call("ServerMetadata", pb.ServerMetadataRequest(), _whole)


def model_metadata(model: str, version: int | None) -> Call[pb.ModelMetadataResponse]:
    """A model's versions, inputs and outputs."""
    request = pb.ModelMetadataRequest(name=model, version=_text(version))
    return Call("ModelMetadata", request, _whole)


def model_config(model: str, version: int | None) -> Call[model_config_pb2.ModelConfig]:
    """A model's completed configuration."""
    request = pb.ModelConfigRequest(name=model, version=_text(version))
    return Call("ModelConfig", request, lambda answer: answer.config)


def statistics(model: str, version: int | None) -> Call[Sequence[pb.ModelStatistics]]:
    """What a model, or each of them, has done."""
    request = pb.ModelStatisticsRequest(name=model, version=_text(version))
    return Call("ModelStatistics", request, lambda answer: answer.model_stats)


def index(*, ready: bool) -> Call[Sequence[pb.RepositoryIndexResponse.ModelIndex]]:
    """Each model version with its state."""
    request = pb.RepositoryIndexRequest(ready=ready)
    return Call("RepositoryIndex", request, lambda answer: answer.models)


def status(model: str) -> Call[cluster_pb2.StatusResponse]:
    """Nodes, gateways, schedulers, model versions, workers and queues."""
    return Call("Status", cluster_pb2.StatusRequest(model=model), _whole)


def _whole(answer: Any) -> Any:
    return answer


def _text(version: int | None) -> str:
    return "" if version is None else str(version)
