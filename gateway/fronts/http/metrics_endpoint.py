"""Where metrics are read, over HTTP, and the facts that are shown.

One process answers for the whole cluster; the numbers come from Redis with each request.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import structlog

from penstock.clock import NO_DEADLINE
from penstock.errors import Code, PenstockError
from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.access.needs import METRICS
from penstock.gateway.delivery.delivery import Delivery
from penstock.gateway.fronts.client_names import names_in
from penstock.gateway.fronts.front import PortBusy
from penstock.gateway.fronts.grpc.access import let_in
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.server_certificates import ServerCertificates
from penstock.gateway.limits.memory import ByteBudget
from penstock.gateway.models.catalog import Catalog
from penstock.gateway.operations.language_metrics import language_facts
from penstock.gateway.operations.machine_metrics import Machines
from penstock.gateway.operations.metrics import CONTENT_TYPE, Facts, GatewayFacts, render
from penstock.gateway.requests.call import Call
from penstock.models.config.ensembles import is_ensemble
from penstock.process.lifetime import write_ready
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.scheduler.observe.custom_metrics import custom_metrics_of
from penstock.scheduler.observe.loads import loads_of
from penstock.scheduler.observe.usage import first_usage_of
from penstock.scheduler.observe.work_done import work_done_of
from penstock.scheduler.registry.telling import Telling
from penstock.settings import GatewaySettings
from penstock.transport.addresses import address_of

log = structlog.get_logger()

DEFAULT_PORT: Final = 8002
MOST_USAGE: Final = 2000
"""Teams of versions whose usage is shown: each has a line in each of its families."""
_ASKING_S: Final = 5.0
_READING_S: Final = 3.0
_REFUSALS: Final = {
    Code.UNAUTHENTICATED: "401 Unauthorized",
    Code.PERMISSION_DENIED: "403 Forbidden",
}
_NOT_FOUND = "404 Not Found", "text/plain", b"metrics are at /metrics\n"

_UNKNOWN = "400 Bad Request", "text/plain", b"scope is turn, cluster or gateway\n"


class Scope(Enum):
    """What is told: of the cluster if it is this gateway's turn, in any case, or never."""

    TURN = "turn"
    CLUSTER = "cluster"
    GATEWAY = "gateway"


Read = Callable[[Scope], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class MetricsReader:
    """Reads the facts of the moment."""

    _catalog: Catalog
    _delivery: Delivery
    # Bytes of the requests that this process has.
    _held: ByteBudget
    _calls: Calls
    _authenticator: Authenticator
    _telling: Telling
    _gateway: str

    async def read(self, scope: Scope) -> bytes:
        """Metrics as text; only this process's own while Redis is away."""
        try:
            async with asyncio.timeout(_READING_S):
                if await self._tells(scope):
                    return render(await self._facts())
                up = self._delivery.queue.link_of("").up
                return render(Facts(self._own(redis_up=up, tells=False)))
        except (PenstockError, TimeoutError) as error:
            log.warning("metrics of the cluster cannot be read", error=str(error))
            return render(Facts(self._own(redis_up=False, tells=False)))

    async def _tells(self, scope: Scope) -> bool:
        if scope is Scope.TURN:
            return await self._telling.is_ours()
        return scope is Scope.CLUSTER

    async def _facts(self) -> Facts:
        records, snapshot = list(self._catalog.records()), self._catalog.snapshot
        workers = snapshot.live_workers()
        queue, router = self._delivery.queue, self._delivery.router
        counters = await router.statistics((id_, is_ensemble(r)) for id_, r in records)
        used, left_out = await first_usage_of(queue, MOST_USAGE)
        counted = {id_: found for (id_, _), found in zip(records, counters, strict=True)}
        loads = await loads_of(queue, snapshot.revisions())
        return Facts(
            self._own(redis_up=queue.link_of("").up, tells=True),
            counted,
            loads,
            workers,
            {id_: state.state == "READY" for id_, state in self._catalog.states.items()},
            {id_: dict(ModelConfig.FromString(r.config).metric_tags) for id_, r in records},
            await custom_metrics_of(queue, workers),
            used,
            left_out,
            Machines(snapshot, await work_done_of(queue, workers)),
            language_facts(self._catalog.slots(), counted, loads, workers),
        )

    def _own(self, *, redis_up: bool, tells: bool) -> GatewayFacts:
        pending, calls, unread = self._delivery.pending, self._calls, self._calls.unread
        return GatewayFacts(
            self._gateway,
            len(pending),
            pending.payload_bytes,
            self._delivery.lender.lent_bytes,
            redis_up,
            memory_bytes=calls.memory.resident_bytes,
            calls=len(calls),
            held_bytes=self._held.held,
            unread_bytes=unread.held,
            refused={
                "memory": calls.refused,
                "pending": self._held.refused,
                "unread": unread.refused,
                "access": self._authenticator.refused,
            },
            cut_off=unread.cut_off,
            tells=tells,
        )


@dataclass(slots=True)
class MetricsEndpoint:
    """Answers HTTP requests for ``/metrics``: as much of HTTP as readers of metrics need."""

    serves_models = False
    early = True

    _settings: GatewaySettings
    # It gives the metrics of the moment.
    _read: Read
    _authenticator: Authenticator
    _certificates: ServerCertificates | None = None
    _servers: list[asyncio.Server] = field(default_factory=list, init=False)
    address: str = field(default="", init=False)

    async def start(self) -> None:
        """As `Front.start`.

        Raises:
            PortBusy: the port that was asked for is in use. If only the default one is, a warning
                says so, and there are no metrics.
        """
        settings = self._settings
        host = settings.metrics_host or settings.host
        port = DEFAULT_PORT if settings.metrics_port is None else settings.metrics_port
        try:
            server = await asyncio.start_server(self._serve, host, port, **self._tls())
        except OSError as error:
            if settings.metrics_port is not None:
                raise PortBusy(
                    f"cannot serve metrics at {address_of(host, port)}: {error.strerror}; choose "
                    "another port with --metrics-port, or none with --no-metrics"
                ) from error
            log.warning("no metrics: the port is in use; choose one with --metrics-port", port=port)
            return
        self._servers.append(server)
        if self._certificates is not None:
            self._certificates.on_change(self._replace)
        self.address = address_of(host, server.sockets[0].getsockname()[1])
        log.info("serving metrics", address=self.address)
        write_ready(settings.metrics_file, self.address)

    def stop_accepting(self) -> None:
        """As `Front.stop_accepting`."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def finish(self, within_s: float) -> None:
        """As `Front.finish`: nobody waits for metrics."""
        del within_s

    def _tls(self) -> dict[str, Any]:
        if self._certificates is None:
            return {}
        return {
            "ssl": self._certificates.context(),
            "ssl_handshake_timeout": _ASKING_S,
        }

    async def _replace(self, _: object) -> None:
        """Serve on the same sockets with other certificates; what has begun goes on."""
        old = list(self._servers)
        for server in old:
            for one in server.sockets:
                copy = socket.socket(fileno=os.dup(one.fileno()))
                serving = await asyncio.start_server(self._serve, sock=copy, **self._tls())
                self._servers.append(serving)
            self._servers.remove(server)
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            try:
                async with asyncio.timeout(_ASKING_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                asked, _, fields = head.decode("latin-1").partition("\r\n")
                method, _, rest = asked.partition(" ")
                call = _call(writer, fields)
                status, kind, body = await self._answer(method, rest.split(" ", 1)[0], call)
                lines = (
                    f"HTTP/1.1 {status}",
                    *(("WWW-Authenticate: Bearer",) if status.startswith("401") else ()),
                    f"Content-Type: {kind}",
                    f"Content-Length: {len(body)}",
                    "Connection: close",
                )
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
                writer.write(b"" if method == "HEAD" else body)
                await writer.drain()
            except asyncio.LimitOverrunError:
                log.debug("a request for metrics was too long")
            finally:
                writer.close()

    async def _answer(self, method: str, target: str, call: Call) -> tuple[str, str, bytes]:
        if method not in {"GET", "HEAD"}:
            return "405 Method Not Allowed", "text/plain", b"metrics can only be read\n"
        asked = urlsplit(target)
        if asked.path != "/metrics":
            return _NOT_FOUND
        try:
            scope = Scope(parse_qs(asked.query).get("scope", [Scope.TURN.value])[-1])
        except ValueError:
            return _UNKNOWN
        try:
            # While the registry is not known, these are facts of this process alone.
            if not self._authenticator.undecided:
                let_in(_Reader(call), METRICS, self._authenticator)
        except PenstockError as error:
            return _REFUSALS[error.code], "text/plain", f"{error}\n".encode()
        return "200 OK", CONTENT_TYPE, await self._read(scope)


@dataclass(slots=True)
class _Reader:
    """Who reads metrics."""

    call: Call


def _call(writer: asyncio.StreamWriter, fields: str) -> Call:
    """Who asks, by the connection and the head's *fields*."""
    tls = writer.get_extra_info("ssl_object")
    shown = None if tls is None else tls.getpeercert(binary_form=True)
    names = names_in(ssl.DER_cert_to_PEM_cert(shown)) if shown else ()
    return Call(NO_DEADLINE, _peer(writer), metadata=_metadata(fields), certificate=names)


def _metadata(fields: str) -> tuple[tuple[str, str], ...]:
    """The head's fields, names in lower case."""
    parted = (line.partition(":") for line in fields.split("\r\n") if line)
    return tuple((name.strip().lower(), value.strip()) for name, _, value in parted)


def _peer(writer: asyncio.StreamWriter) -> str:
    host, port = writer.get_extra_info("peername")[:2]
    return f"{'ipv6' if ':' in host else 'ipv4'}:{address_of(host, port)}"
