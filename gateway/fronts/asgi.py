"""ASGI, as far as several fronts need it: its words, who calls, and the server that carries it.

The server is h2corn, in this process's event loop, on a socket that is ours: several processes may
share a port, dead clients are noticed by the kernel's keepalive, and nobody touches our signals.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

import structlog

from penstock.errors import InvalidConfiguration
from penstock.gateway.fronts.client_names import names_in
from penstock.gateway.fronts.farewell import Farewell
from penstock.gateway.fronts.front import PortBusy
from penstock.gateway.fronts.server_certificates import ServerCertificates
from penstock.process.native_lines import NativeLines
from penstock.process.priority import have_stand_back
from penstock.telemetry import log_to
from penstock.transport.addresses import address_of, family_of
from penstock.transport.certificates import Certificates, as_files

log = structlog.get_logger()

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""What answers requests."""

_NO_TLS: Final[dict[str, Any]] = {}
_BACKLOG: Final = 4096
_GRACE_S: Final = 1.0
"""What is left when a server is shut down has so long to end: nothing of ours is."""

_PERSUADING_S: Final = 5.0
"""How long clients that keep connections open are asked to connect anew before these are closed."""

_FAREWELL_S: Final = 3.0
"""So long a client may take to hear that its connection ends, while others are served."""

_CARRIER: Final = "tokio-rt-worker"
"""What the threads are called that read and write connections; one serves all of a process."""

_LONGEST_S: Final = 24 * 3600.0

_STARTING: Final = frozenset(("starting", "listening", "http1_enabled", "stopping", "stopped"))
_COMMON: Final[dict[str, Any]] = {
    "access_log": False,
    "lifespan": "off",
    "log_format": "json",
    "runtime_threads": 1,
    "timeout_graceful_shutdown": _GRACE_S,
    "date_header": False,
    # Of one upload, and of all of a connection: one that is not read holds up no other.
    "h2_initial_stream_window_size": 1 << 20,
    "h2_initial_connection_window_size": 64 << 20,
    # Each frame is an event: the larger, the cheaper.
    "h2_max_inbound_frame_size": 1 << 20,
    # Whoever pauses reading may: what is unread is bounded by its bytes (ADR 0026).
    "h2_timeout_response_stall": 0,
}


def connection_of(scope: Scope) -> str:
    """The connection's other end, as grpc.aio names it."""
    client = scope.get("client")
    if client is None:
        return "unix:"
    host, port = client
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"


def certificate_of(scope: Scope) -> tuple[str, ...]:
    """The names in the certificate that the client has proved to be its own."""
    extensions = scope.get("extensions")
    shown = extensions.get("tls", _NO_TLS).get("client_cert_chain") if extensions else None
    return names_in(shown[0]) if shown else ()


def at_path(path: Path) -> socket.socket:
    """A Unix socket at *path*, in place of one that nobody has any more; it does not listen."""
    path.unlink(missing_ok=True)
    taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    taken.bind(str(path))
    return taken


def bound(host: str, port: int, option: str, *, shared: bool = False) -> socket.socket:
    """A socket that has the port, and does not listen.

    Args:
        option: that chooses the port.
        shared: with other processes.

    Raises:
        PortBusy: with what to do.
    """
    taken = socket.socket(family_of(host), socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        raise PortBusy(
            f"cannot serve at {address_of(host, port)}: {error.strerror}; "
            f"choose another with {option} or --host"
        ) from error
    return taken


def keep_alive(taken: socket.socket, after_s: int, every_s: int) -> None:
    """Have the kernel ask the clients of a listening socket whether they are still there."""
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        # Linux has 15 bits for either.
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, min(after_s, 32767)))
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, min(every_s, 32767)))


class AsgiServer:
    """Answers by *app* what comes to the socket *taken*.

    h2corn has its certificates for life: when they change, another one takes its place on the same
    socket, and what the old one has begun goes on to its end.

    Args:
        options: of h2corn, beside those that hold for all.
        certificates: that it proves itself with; None for no TLS.

    Attributes:
        address: host and port.
    """

    def __init__(
        self,
        app: App,
        taken: socket.socket,
        options: dict[str, Any],
        certificates: ServerCertificates | None = None,
    ) -> None:
        """Raises InvalidConfiguration where h2corn is not installed."""
        try:
            import h2corn
        except ModuleNotFoundError as error:
            taken.close()
            raise InvalidConfiguration(
                "this needs the package h2corn: pip install 'penstock[http]'"
            ) from error
        self._h2corn = h2corn
        self._app = app
        self._options = {**_COMMON, **options}
        self._socket = taken
        self._certificates = certificates
        self._life: _Life | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        if certificates is not None:
            certificates.on_change(self._replace)
            # Calls that the old one has when they change may take their time.
            self._options["timeout_graceful_shutdown"] = _LONGEST_S
        self._name = name = taken.getsockname()
        self.address = name if isinstance(name, str) else address_of(*name[:2])

    async def start(self) -> None:
        """Listen."""
        _Lines.begin()
        self._socket.listen(_BACKLOG)
        found = None if self._certificates is None else self._certificates.current
        self._life = await self._begin(found)

    async def shut_down(self) -> None:
        """Send what is left to be sent, tell clients to go elsewhere, and let go of the port."""
        self._socket.close()
        life, self._life = self._life, None
        if life is None:
            return
        async with Farewell(self._name, _GRACE_S):
            life.server.shutdown()
            for task in self._leaving:
                task.cancel()
            _, left = await asyncio.wait({life.serving, *self._leaving}, timeout=2 * _GRACE_S)
        if life.serving not in left and (error := life.serving.exception()) is not None:
            log.warning("a server did not end well", error=str(error))
        _Lines.end()

    async def _begin(self, found: Certificates | None) -> "_Life":
        # It takes descriptors over, and closes them.
        options = {**self._options, "bind": (f"fd://{os.dup(self._socket.fileno())}",)}
        app = _Persuading(self._app)
        with as_files(found or Certificates()) as files:
            if self._certificates is not None:
                options |= {
                    "certfile": files.certificate,
                    "keyfile": files.key,
                    "ca_certs": files.authorities,
                    "cert_reqs": self._certificates.client_auth,
                }
            config = self._h2corn.Config(**options)
            server = self._h2corn.Server(self._app if found is None else app, config)
            serving = asyncio.create_task(server.serve())
            await server.wait_started()
        # Each of an answer's events wakes it. It would take the core from the event loop each time,
        # to find a third of what it is to send, and write it alone.
        have_stand_back(_CARRIER)
        return _Life(server, serving, app)

    async def _replace(self, found: Certificates) -> None:
        """Have another one on the socket, with other certificates."""
        if (old := self._life) is None:
            return
        self._life = await self._begin(found)
        task = asyncio.create_task(self._end(old))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _end(self, life: "_Life") -> None:
        """Have *life* end once it has nothing to do, and who keeps connections open has moved."""
        life.app.leaving = True
        try:
            if self._options.get("http1", True):
                await asyncio.sleep(_PERSUADING_S)
            async with Farewell(self._name, _FAREWELL_S):
                life.server.shutdown()
        finally:
            life.server.shutdown()
        await life.serving


class _Persuading:
    """*app*, whose clients are asked to connect anew once it is *leaving*.

    HTTP/2 has a word for that, and HTTP/1.1 only a header: whoever keeps a connection open, and
    sends a request in the moment in which it is closed, does not know what became of it.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self.leaving = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.leaving or scope.get("http_version") == "2":
            await self._app(scope, receive, send)
            return

        async def asking(event: Event) -> None:
            if event["type"] == "http.response.start":
                event = {**event, "headers": [*event["headers"], (b"connection", b"close")]}
            await send(event)

        await self._app(scope, receive, asking)


class _Life(NamedTuple):
    """One h2corn, from its start to its end."""

    server: Any
    serving: "asyncio.Task[None]"
    app: _Persuading


class _Lines:
    """What h2corn writes to standard error, as lines of the log, while there is a server."""

    taken: tuple[NativeLines, TextIO] | None = None
    users = 0

    @classmethod
    def begin(cls) -> None:
        cls.users += 1
        if cls.taken is None:
            lines = NativeLines(_logged)
            cls.taken = lines, lines.begin()
            log_to(cls.taken[1])

    @classmethod
    def end(cls) -> None:
        cls.users -= 1
        if cls.taken is not None and not cls.users:
            lines, stream = cls.taken
            cls.taken = None
            lines.end()
            log_to(sys.stderr)
            stream.close()


def _logged(line: bytes) -> bool:
    """Whether *line* was one of h2corn's, which is in the log now."""
    if not line.startswith(b'{"level":'):
        return False
    try:
        fields = json.loads(line)
        level, event = fields.pop("level"), fields.pop("event")
    except (ValueError, KeyError):
        return False
    fields.pop("pid", None)
    write = log.debug
    if event not in _STARTING and fields.get("subject") == "request":
        write = log.error if level == "error" else log.warning
    write("h2corn", what=event, **fields)
    return True
