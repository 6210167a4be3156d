"""The front that speaks gRPC: all services on one port, by the server that the settings choose."""

import asyncio
from typing import Final, Protocol

import structlog

from penstock.clock import Deadline
from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.fronts.call_log import logged
from penstock.gateway.fronts.grpc.access import guarded, parse_rules
from penstock.gateway.fronts.grpc.aio.server import AioServer
from penstock.gateway.fronts.grpc.asgi.server import AsgiRpcServer
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.grpc.cluster_service import ClusterService
from penstock.gateway.fronts.grpc.health import Health
from penstock.gateway.fronts.grpc.inference_service import SERVICE, InferenceService
from penstock.gateway.fronts.grpc.methods import CLUSTER, methods_of
from penstock.gateway.fronts.server_certificates import ServerCertificates
from penstock.gateway.operations.access_log import AccessLog
from penstock.settings import GatewaySettings

log = structlog.get_logger()

_HEARD_AFTER_S: Final = 0.5
"""Whoever watches a gateway's health has heard by then that it is about to go."""


class RpcServer(Protocol):
    """What carries RPCs to their methods.

    Attributes:
        address: host and port.
    """

    address: str

    async def start(self) -> None:
        """Listen; the port is taken already."""

    def drain(self) -> None:
        """Calls may be cancelled from now on because the gateway stops."""

    async def flush(self) -> None:
        """Wait until the ends of the calls that have ended are with the kernel."""

    async def stop(self) -> None:
        """Let go of the port; whoever calls meanwhile may hear anything. Gateways do not."""


class GrpcFront:
    """All services on one port.

    It refuses by name until its process ends; whoever finds its connection closed then has
    UNAVAILABLE (ADR 0018).
    """

    serves_models = True
    early = False

    def __init__(self, server: RpcServer, health: Health, calls: Calls) -> None:
        self._server = server
        self._health = health
        self._calls = calls
        self._heard: Deadline | None = None
        self.address = server.address

    @classmethod
    def bound(
        cls,
        inference: InferenceService,
        cluster: ClusterService,
        calls: Calls,
        authenticator: Authenticator,
        settings: GatewaySettings,
        certificates: ServerCertificates | None = None,
        *,
        administers: bool = False,
    ) -> "GrpcFront":
        """The front that has the port of *settings*.

        Args:
            administers: it has the port for administration, which others refuse from now on to
                callers with keys.

        Raises:
            PortBusy: with what to do.
            InvalidConfiguration: a restriction is none, the server does not offer an option, or the
                access log cannot be written.
        """
        if administers:
            own = {"host": settings.admin_host, "port": settings.admin_port, "local_socket": None}
            settings = settings.model_copy(update=own)
        health = Health(SERVICE, CLUSTER)
        methods = guarded(
            methods_of(inference, cluster, health, calls),
            authenticator,
            parse_rules(settings.grpc_restricted_protocol),
            administers=administers,
        )
        if settings.access_log is not None:
            methods = logged(methods, AccessLog(settings.access_log))
        server = AsgiRpcServer if settings.grpc_front == "asgi" else AioServer
        front = cls(server(methods, settings, certificates), health, calls)
        if administers:
            authenticator.apart = True
            log.info("serving administration", address=front.address)
        return front

    async def start(self) -> None:
        """As `Front.start`; the port is taken already."""
        await self._server.start()
        self._health.say(serving=True)

    def stop_accepting(self) -> None:
        """As `Front.stop_accepting`: those who watch its health ask elsewhere from now on."""
        self._health.say(serving=False)
        self._server.drain()
        self._heard = Deadline.after(_HEARD_AFTER_S)

    async def finish(self, within_s: float) -> None:
        """As `Front.finish`."""
        if late := await self._calls.finish(within_s):
            log.warning("requests took longer than --drain-s and were cut off", requests=late)
        if self._health.watchers and self._heard is not None:
            await asyncio.sleep(self._heard.remaining_s())
        await self._server.flush()

    async def stop(self) -> None:
        """Let go of the port at once, which is for tests: calls on their way may hear anything."""
        await self._server.stop()
