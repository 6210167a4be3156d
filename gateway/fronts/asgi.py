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
from functools import partial
from typing import Any, Final, Protocol, TextIO

import structlog

from penstock.errors import InvalidConfiguration
from penstock.gateway.fronts.front import PortBusy
from penstock.process.native_lines import NativeLines
from penstock.telemetry import log_to
from penstock.transport.addresses import address_of, family_of

log = structlog.get_logger()

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


class App(Protocol):
    """What answers requests."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""


_BACKLOG: Final = 4096
_GRACE_S: Final = 1.0
"""What is left when a server is shut down has so long to end: nothing of ours is."""

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

    Args:
        options: of h2corn, beside those that hold for all.

    Attributes:
        address: host and port.
    """

    def __init__(self, app: App, taken: socket.socket, options: dict[str, Any]) -> None:
        """Raises InvalidConfiguration where h2corn is not installed."""
        try:
            import h2corn
        except ModuleNotFoundError as error:
            taken.close()
            raise InvalidConfiguration(
                "this needs the package h2corn: pip install 'penstock[http]'"
            ) from error
        self._server_of = partial(h2corn.Server, app)
        self._config_of = partial(h2corn.Config, **{**_COMMON, **options})
        self._socket = taken
        self._server: Any = None
        self._serving: asyncio.Task[None] | None = None
        host, port = taken.getsockname()[:2]
        self.address = address_of(host, port)

    async def start(self) -> None:
        """Listen."""
        _Lines.begin()
        self._socket.listen(_BACKLOG)
        # It takes descriptors over, and closes them.
        binding = f"fd://{os.dup(self._socket.fileno())}"
        self._server = self._server_of(self._config_of(bind=(binding,)))
        self._serving = asyncio.create_task(self._server.serve())
        await self._server.wait_started()

    async def shut_down(self) -> None:
        """Send what is left to be sent, tell clients to go elsewhere, and let go of the port."""
        self._socket.close()
        if self._serving is None:
            return
        self._server.shutdown()
        _, left = await asyncio.wait({self._serving}, timeout=2 * _GRACE_S)
        if not left and (error := self._serving.exception()) is not None:
            log.warning("a server did not end well", error=str(error))
        self._serving = None
        _Lines.end()


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
