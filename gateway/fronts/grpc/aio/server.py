"""The server of grpc.aio: what it has of an RPC as an `Rpc`, its limits, and where it listens."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Final

import grpc

from penstock.clock import NO_DEADLINE, Deadline
from penstock.gateway.fronts.client_names import names_in
from penstock.gateway.fronts.front import PortBusy
from penstock.gateway.fronts.grpc.aio.accepting import Acceptors
from penstock.gateway.fronts.grpc.aio.poller import standing_back
from penstock.gateway.fronts.grpc.connections import is_local, most_connections
from penstock.gateway.fronts.grpc.rpc import Method, Methods
from penstock.gateway.fronts.server_certificates import ServerCertificates
from penstock.gateway.requests.call import Call
from penstock.settings import GatewaySettings
from penstock.transport.addresses import address_of
from penstock.transport.server_credentials import server_credentials
from penstock.transport.to_the_end import to_the_end

_MIB = 1024 * 1024
_HANDSHAKE_MS: Final = 10_000
"""Whoever connects and does not speak HTTP/2 by then is not waited for."""

_COMPRESSION_LEVELS: Final = ("none", "low", "medium", "high")
_BY_NUMBER: Final = {status.value[0]: status for status in grpc.StatusCode}


class AioRpc:
    """An RPC that grpc.aio carries."""

    __slots__ = ("_context", "call")

    def __init__(self, context: Any, *, asks: bool = False) -> None:
        """*asks*: clients are asked for certificates."""
        remaining_s, peer = context.time_remaining(), context.peer()
        self._context = context
        self.call = Call(
            NO_DEADLINE if remaining_s is None else Deadline.after(remaining_s),
            peer,
            is_local(peer),
            tuple(context.invocation_metadata() or ()),
            certificate=_names(context) if asks else (),
        )

    def read(self) -> Awaitable[object]:
        """As `Rpc.read`: the end is `grpc.aio.EOF`. What comes is freed, whoever waits for it."""
        return to_the_end(self._context.read())

    def write(self, message: bytes) -> Awaitable[None]:
        """As `Rpc.write`."""
        writing: Awaitable[None] = self._context.write(message)
        return writing

    def let_go(self) -> None:
        """Forget gRPC's call, which has ended, and all that gRPC holds for it."""
        self._context = None

    def fail(self, status: int, text: str, trailing: Sequence[tuple[str, str]]) -> None:
        """As `Rpc.fail`.

        Not by `context.abort`: that raises an error which gRPC keeps, and with it the frames that
        it came through, in a circle that only a full garbage collection breaks; a request's payload
        is among what they hold.
        """
        self._context.set_trailing_metadata(tuple(trailing))
        self._context.set_details(text)
        self._context.set_code(_BY_NUMBER[status])


class AioServer:
    """Answers by *methods*; it has a port and does not listen yet.

    It is never stopped: that ends calls on their way to it as CANCELLED, which tells no caller to
    ask elsewhere (ADR 0018).

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
        """
        with standing_back():
            self._server = grpc.aio.server(options=list(_options(settings)))
        asks = certificates is not None and certificates.client_auth != "none"
        handlers = {path: _handler(method, asks=asks) for path, method in methods.items()}
        self._server.add_generic_rpc_handlers((_Handlers(handlers),))
        often = {path: handlers[path] for path, method in methods.items() if method.often}
        self._acceptors = Acceptors(self._server, often)
        credentials = None
        if certificates is not None:
            required = certificates.client_auth == "required"
            credentials = server_credentials(certificates, required=required)
        port = _bound(self._server, settings.host, settings.port, credentials)
        self.address = address_of(settings.host, port)
        if settings.local_socket is not None:
            self._server.add_insecure_port(f"unix:{settings.local_socket}")

    async def start(self) -> None:
        """Listen."""
        await self._server.start()
        self._acceptors.start()

    def drain(self) -> None:
        """As `RpcServer.drain`: it has words of its own for such calls."""

    async def flush(self) -> None:
        """As `RpcServer.flush`: a call's task ends when its status is written."""

    async def stop(self) -> None:
        """As `RpcServer.stop`."""
        await self._server.stop(None)


class _Handlers(grpc.GenericRpcHandler):
    """Those of all methods, by their paths."""

    def __init__(self, by_path: Mapping[str, Any]) -> None:
        self._by_path = by_path

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of one method; None where there is none."""
        return self._by_path.get(details.method)


def _handler(method: Method, *, asks: bool) -> Any:
    """How grpc.aio handles *method*.

    To it all calls may send several messages: it reads none before it is asked to.
    """

    async def handle(_: Any, context: Any) -> bytes | None:
        rpc = AioRpc(context, asks=asks)
        try:
            return await method.handle(rpc)
        finally:
            rpc.let_go()

    if method.streams:
        return grpc.stream_stream_rpc_method_handler(handle)
    return grpc.stream_unary_rpc_method_handler(handle)


def _names(context: Any) -> tuple[str, ...]:
    """Those in the certificate of the client, if it has shown one."""
    certificate = context.auth_context().get("x509_pem_cert")
    return names_in(certificate[0]) if certificate else ()


def _bound(
    server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None
) -> int:
    """Take the port; returns it, which matters when *port* is 0.

    Raises:
        PortBusy: with what to do.
    """
    address = address_of(host, port)
    try:
        if credentials is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, credentials)
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
    # Without it the answer to a ping is waited for for a minute.
    yield "grpc.http2.ping_timeout_ms", settings.grpc_keepalive_timeout
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
    # What gRPC takes of a call before anybody reads it: it would grow with the line's speed.
    yield "grpc.http2.bdp_probe", 0
    yield "grpc.http2.lookahead_bytes", _MIB
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
