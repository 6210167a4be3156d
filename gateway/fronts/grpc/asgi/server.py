"""The server of RPCs over ASGI: its limits, and where it listens."""

from typing import Any, Final

from penstock.errors import InvalidConfiguration
from penstock.gateway.fronts.asgi import AsgiServer, at_path, bound, keep_alive
from penstock.gateway.fronts.grpc.asgi import wire
from penstock.gateway.fronts.grpc.asgi.app import RpcApp
from penstock.gateway.fronts.grpc.asgi.rpc import Terms
from penstock.gateway.fronts.grpc.connections import most_connections
from penstock.gateway.fronts.grpc.rpc import Methods
from penstock.gateway.fronts.server_certificates import ServerCertificates
from penstock.gateway.offload import Offload
from penstock.setting_types import GrpcSettings
from penstock.settings import GatewaySettings

_HANDSHAKE_S: Final = 10.0
"""Whoever connects and does not speak HTTP/2 by then is not waited for."""

_MOST_HEADER_BYTES: Final = 1 << 18
"""Of one call. Beyond it the connection is ended, which costs its other calls, too."""

_COMPRESSION: Final = {"none": wire.IDENTITY, "low": b"gzip"}
"""What grpc.aio makes of a level, for clients that take both; of higher ones deflate."""

_NOT_OFFERED: Final = (
    *("grpc_keepalive_permit_without_calls", "grpc_http2_max_pings_without_data"),
    *("grpc_http2_min_recv_ping_interval_without_data", "grpc_http2_max_ping_strikes"),
    *("grpc_max_connection_age", "grpc_max_connection_age_grace"),
)
"""Options for which this server has no handle."""


class AsgiRpcServer:
    """Answers by *methods*; it has a port and does not listen yet.

    Attributes:
        address: host and port.
    """

    def __init__(
        self,
        methods: Methods,
        settings: GatewaySettings,
        certificates: ServerCertificates | None = None,
    ) -> None:
        """Take the port.

        Raises:
            PortBusy: with what to do.
            InvalidConfiguration: an option is given that this server does not offer, or it is not
                installed.
        """
        _check(settings)
        level = settings.grpc_infer_response_compression_level
        compression = _COMPRESSION.get(level, b"deflate")
        terms = Terms(settings.max_message_mib << 20, compression, Offload())
        taken = bound(settings.host, settings.port, "--port", shared=settings.shared_port)
        after_ms, every_ms = settings.grpc_keepalive_time, settings.grpc_keepalive_timeout
        keep_alive(taken, after_ms // 1000, every_ms // 1000)
        self._app = RpcApp(methods, terms)
        options = _options(settings)
        self._servers = [AsgiServer(self._app, taken, options, certificates)]
        if settings.local_socket is not None:
            self._servers.append(AsgiServer(self._app, at_path(settings.local_socket), options))
        self.address = self._servers[0].address

    async def start(self) -> None:
        """Listen."""
        for server in self._servers:
            await server.start()

    def drain(self) -> None:
        """As `RpcServer.drain`."""
        self._app.drain()

    async def flush(self) -> None:
        """As `RpcServer.flush`: it is shut down, which sends all that it holds.

        Unlike grpc.aio it tells its clients which calls it has not taken, so that those are made
        elsewhere.
        """
        self._app.end_streams()
        for server in self._servers:
            await server.shut_down()

    async def stop(self) -> None:
        """As `RpcServer.stop`."""
        await self.flush()


def _check(settings: GatewaySettings) -> None:
    fields = GrpcSettings.model_fields
    given = [
        f"--{name.replace('_', '-')}"
        for name in _NOT_OFFERED
        if getattr(settings, name) != fields[name].default
    ]
    if given:
        raise InvalidConfiguration(
            f"{', '.join(given)}: --grpc-front asgi does not offer this; leave it out, or use "
            "--grpc-front aio"
        )


def _options(settings: GatewaySettings) -> dict[str, Any]:
    idle_ms = settings.grpc_max_connection_idle
    return {
        "grpc": True,
        # No HTTP/1: this port is for gRPC.
        "http1": False,
        "max_concurrent_streams": settings.grpc_max_concurrent_streams,
        "limit_connections": most_connections(settings.max_connections),
        # Metadata are many short fields, which their sum bounds.
        "limit_request_fields": 0,
        "h2_max_header_list_size": _MOST_HEADER_BYTES,
        "h2_max_header_block_size": _MOST_HEADER_BYTES,
        "timeout_handshake": _HANDSHAKE_S,
        "timeout_keep_alive": 0 if idle_ms is None else idle_ms / 1000,
    }
