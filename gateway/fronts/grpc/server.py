"""The gRPC server: its limits, its services, and where it listens."""

import asyncio
import socket
from collections.abc import Iterable, Iterator
from typing import Any, Final

import grpc
import structlog
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from penstock.clock import Deadline
from penstock.gateway.fronts.front import PortBusy
from penstock.gateway.fronts.grpc.access import Restrictions, parse_rules
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.grpc.cluster_service import ClusterService
from penstock.gateway.fronts.grpc.connections import most_connections
from penstock.gateway.fronts.grpc.guarded import GuardedServer
from penstock.gateway.fronts.grpc.health import Health
from penstock.gateway.fronts.grpc.inference_service import SERVICE, InferenceService
from penstock.protos import cluster_pb2
from penstock.protos.cluster_pb2_grpc import add_ClusterServicer_to_server
from penstock.protos.pool import POOL
from penstock.settings import GatewaySettings
from penstock.transport.addresses import address_of

log = structlog.get_logger()

CLUSTER = "penstock.v1.Cluster"
_SERVICES: Final = (SERVICE, CLUSTER, health.SERVICE_NAME, reflection.SERVICE_NAME)
_MIB = 1024 * 1024
_HANDSHAKE_MS: Final = 10_000
"""Whoever connects and does not speak HTTP/2 by then is not waited for."""

_HEARD_AFTER_S: Final = 0.5
"""Whoever watches a gateway's health has heard by then that it is about to go."""

_COMPRESSION_LEVELS: Final = ("none", "low", "medium", "high")


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


class GrpcFront:
    """All services on one port.

    Its server is never stopped: that ends calls on their way to it as CANCELLED, which tells no
    caller to ask elsewhere. It refuses by name until its process ends; whoever finds its connection
    closed then has UNAVAILABLE.
    """

    serves_models = True

    def __init__(self, server: grpc.aio.Server, address: str, health: Health, calls: Calls) -> None:
        self._server = server
        self._health = health
        self._calls = calls
        self._heard: Deadline | None = None
        self.address = address

    @classmethod
    def bound(
        cls,
        inference: InferenceService,
        cluster: ClusterService,
        calls: Calls,
        settings: GatewaySettings,
    ) -> "GrpcFront":
        """The front that has the port of *settings*.

        Raises:
            PortBusy: with what to do.
            InvalidConfiguration: a restriction is none.
        """
        health = Health(SERVICE, CLUSTER)
        server = build_server(inference, cluster, health, calls, settings)
        port = bind(server, settings.host, settings.port)
        return cls(server, address_of(settings.host, port), health, calls)

    async def start(self) -> None:
        """As `Front.start`; the port is taken already."""
        await self._server.start()
        self._health.say(serving=True)

    def stop_accepting(self) -> None:
        """As `Front.stop_accepting`: those who watch its health ask elsewhere from now on."""
        self._health.say(serving=False)
        self._heard = Deadline.after(_HEARD_AFTER_S)

    async def finish(self, within_s: float) -> None:
        """As `Front.finish`."""
        if late := await self._calls.finish(within_s):
            log.warning("requests took longer than --drain-s and were cut off", requests=late)
        if self._health.watchers and self._heard is not None:
            await asyncio.sleep(self._heard.remaining_s())


def build_server(
    inference: InferenceService,
    cluster: ClusterService,
    health_service: Health,
    calls: Calls,
    settings: GatewaySettings,
) -> grpc.aio.Server:
    """A server with all services; it has no port yet.

    Raises:
        InvalidConfiguration: a restriction is none.
    """
    rules = parse_rules(settings.grpc_restricted_protocol)
    server = grpc.aio.server(
        options=list(_options(settings)),
        interceptors=[Restrictions(rules, methods())] if rules else None,
    )
    server.add_generic_rpc_handlers((inference.handler(),))
    guarded = GuardedServer(server, calls, _requests())
    add_ClusterServicer_to_server(cluster, guarded)  # type: ignore[no-untyped-call]
    always = GuardedServer(server, calls, _requests(), always=True)
    health_pb2_grpc.add_HealthServicer_to_server(health_service, always)
    reflecting = ReflectionServicer(_SERVICES, pool=_Pools())
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, guarded)
    return server


def methods() -> Iterator[str]:
    """All methods that the server has, each as "package.Service/Method"."""
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


def check_port(host: str, port: int) -> None:
    """Refuse a port at which somebody listens, before gRPC writes lines of its own about it.

    Raises:
        PortBusy: with what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortBusy(
                f"cannot serve at {address_of(host, port)}: {error.strerror}; "
                "choose another with --port or --host"
            ) from error


def bind(server: grpc.aio.Server, host: str, port: int) -> int:
    """Take the port; returns it, which matters when *port* is 0.

    Raises:
        PortBusy: with what to do.
    """
    address = address_of(host, port)
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


def _options(settings: GatewaySettings) -> Iterable[tuple[str, int]]:
    yield "grpc.max_receive_message_length", settings.max_message_mib * _MIB
    # The model decides how large a reply is; the client's own limit guards the client.
    yield "grpc.max_send_message_length", -1
    yield "grpc.so_reuseport", int(settings.shared_port)
    level = settings.grpc_infer_response_compression_level
    yield "grpc.default_compression_level", _COMPRESSION_LEVELS.index(level)
    yield "grpc.keepalive_time_ms", settings.grpc_keepalive_time
    yield "grpc.keepalive_timeout_ms", settings.grpc_keepalive_timeout
    yield "grpc.http2.max_pings_without_data", settings.grpc_http2_max_pings_without_data
    # By default, clients may keep their connections alive as often as they like.
    yield "grpc.keepalive_permit_without_calls", int(settings.grpc_keepalive_permit_without_calls)
    interval_ms = settings.grpc_http2_min_recv_ping_interval_without_data
    yield "grpc.http2.min_recv_ping_interval_without_data_ms", interval_ms
    yield "grpc.http2.max_ping_strikes", settings.grpc_http2_max_ping_strikes
    if settings.grpc_max_connection_age is not None:
        yield "grpc.max_connection_age_ms", settings.grpc_max_connection_age
    if settings.grpc_max_connection_age_grace is not None:
        yield "grpc.max_connection_age_grace_ms", settings.grpc_max_connection_age_grace
    yield from _bounds(settings)


def _bounds(settings: GatewaySettings) -> Iterable[tuple[str, int]]:
    """What one client, and all together, may keep this server busy with (ADR 0026)."""
    # Calls that a client takes back at once count until gRPC is done with them.
    yield "grpc.max_concurrent_streams", settings.grpc_max_concurrent_streams
    # It refuses the next call of a client whose last one it has not cleared away yet.
    yield "grpc.http.overload_protection", 0
    # From 1,000 calls on that come at once, gRPC would cancel some, and tell no reason.
    yield "grpc.server.max_pending_requests", settings.max_calls
    yield "grpc.server.max_pending_requests_hard_limit", 2 * settings.max_calls
    yield "grpc.max_allowed_incoming_connections", most_connections(settings.max_connections)
    yield "grpc.server_handshake_timeout_ms", _HANDSHAKE_MS
    if settings.grpc_max_connection_idle is not None:
        yield "grpc.max_connection_idle_ms", settings.grpc_max_connection_idle
