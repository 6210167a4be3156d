"""All that is offered over gRPC: the services, and how each of their methods is answered."""

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.grpc.cluster_service import ClusterService
from penstock.gateway.fronts.grpc.guarded import GuardedServices
from penstock.gateway.fronts.grpc.health import Health
from penstock.gateway.fronts.grpc.inference_service import SERVICE, InferenceService
from penstock.gateway.fronts.grpc.rpc import Method
from penstock.protos import cluster_pb2
from penstock.protos.cluster_pb2_grpc import add_ClusterServicer_to_server
from penstock.protos.pool import POOL

CLUSTER: Final = "penstock.v1.Cluster"
_SERVICES: Final = (SERVICE, CLUSTER, health.SERVICE_NAME, reflection.SERVICE_NAME)


class _Pools:
    """Our private descriptor pool and the default one, where health and reflection are."""

    def __init__(self) -> None:
        self._pools = (POOL, descriptor_pool.Default())

    def __getattr__(self, name: str) -> Any:
        def find(*arguments: Any) -> Any:
            try:
                return getattr(self._pools[0], name)(*arguments)
            except KeyError:
                return getattr(self._pools[1], name)(*arguments)

        return find


def methods_of(
    inference: InferenceService, cluster: ClusterService, health_service: Health, calls: Calls
) -> dict[str, Method]:
    """How the methods of all services are answered, by path."""
    methods, kinds = inference.methods(), _requests()
    guarded = GuardedServices(methods, calls, kinds)
    always = GuardedServices(methods, calls, kinds, always=True)
    add_ClusterServicer_to_server(cluster, guarded)  # type: ignore[no-untyped-call]
    health_pb2_grpc.add_HealthServicer_to_server(health_service, always)
    reflecting = ReflectionServicer(_SERVICES, pool=_Pools())
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, guarded)
    return methods


def names() -> Iterator[str]:
    """All methods that there are, each as "package.Service/Method"."""
    pools = _Pools()
    for service in _SERVICES:
        for method in pools.FindServiceByName(service).methods:
            yield f"{service}/{method.name}"


def _requests() -> dict[str, type[Message]]:
    """What the methods of all services but the inference service take, by "service/method"."""
    files = (cluster_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
    return {
        f"{service.full_name}/{method.name}": message_factory.GetMessageClass(method.input_type)
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    }
