"""The gRPC server: its limits, its services, and the order in which it stops."""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from penstock.errors import Code, PenstockError
from penstock.gateway.cluster import ClusterService
from penstock.gateway.servicer import SERVICE, InferenceService
from penstock.protos.cluster_pb2_grpc import add_ClusterServicer_to_server
from penstock.protos.pool import POOL

CLUSTER = "penstock.v1.Cluster"
_MIB = 1024 * 1024


class PortBusy(PenstockError):
    """Another process serves there."""

    code = Code.UNAVAILABLE


class Health(health.aio.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1, Check and Watch; it speaks of this process, never of Redis."""

    async def say(self, *, serving: bool) -> None:
        """Tell everybody who asks, and everybody who watches."""
        status = health_pb2.HealthCheckResponse
        word = status.SERVING if serving else status.NOT_SERVING
        for service in ("", SERVICE, CLUSTER):
            await self.set(service, word)


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


def build_server(
    inference: InferenceService,
    cluster: ClusterService,
    health_service: Health,
    *,
    max_message_mib: int,
    shared_port: bool,
) -> grpc.aio.Server:
    """A server with all services; it has no port yet."""
    server = grpc.aio.server(options=list(_options(max_message_mib, shared_port=shared_port)))
    server.add_generic_rpc_handlers((inference.handler(),))
    add_ClusterServicer_to_server(cluster, server)  # type: ignore[no-untyped-call]
    health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
    names = (SERVICE, CLUSTER, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool=_Pools())
    return server


def bind(server: grpc.aio.Server, host: str, port: int) -> int:
    """Take the port; returns it, which matters when *port* is 0.

    Raises:
        PortBusy: with what to do.
    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if bound == 0:
        raise PortBusy(
            f"cannot serve at {address}: the port is in use, or the address is not this machine's; "
            "choose another with --port or --host"
        )
    return bound


def _options(max_message_mib: int, *, shared_port: bool) -> Iterable[tuple[str, int]]:
    yield "grpc.max_receive_message_length", max_message_mib * _MIB
    # The model decides how large a reply is; the client's own limit guards the client.
    yield "grpc.max_send_message_length", -1
    yield "grpc.so_reuseport", int(shared_port)
    # Clients may keep their connections alive as often as they like.
    yield "grpc.keepalive_permit_without_calls", 1
    yield "grpc.http2.min_recv_ping_interval_without_data_ms", 1000
    yield "grpc.http2.max_ping_strikes", 0
