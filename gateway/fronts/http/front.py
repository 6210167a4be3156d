"""The front that speaks HTTP: the REST protocol, and how this gateway is, on one port."""

import asyncio
import importlib.util
import re
from dataclasses import dataclass
from typing import Any, Final

import structlog

from penstock.errors import InvalidConfiguration
from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.fronts.asgi import AsgiServer, bound
from penstock.gateway.fronts.front import PortBusy
from penstock.gateway.fronts.grpc.access import parse_rules
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.grpc.connections import most_connections
from penstock.gateway.fronts.grpc.inference_service import InferenceService
from penstock.gateway.fronts.http.administration import Administration
from penstock.gateway.fronts.http.app import RestApp, Route, openai_routes_of, routes_of
from penstock.gateway.fronts.http.exchange import Exchange, Parts, Reply
from penstock.gateway.fronts.http.generate import Generate
from penstock.gateway.fronts.http.metrics_endpoint import Read, Scope
from penstock.gateway.fronts.http.openai.api import OpenAi
from penstock.gateway.fronts.http.openai.audio.api import Transcriptions
from penstock.gateway.fronts.http.openai.embeddings import Embeddings
from penstock.gateway.fronts.http.openai.responses.api import Responses
from penstock.gateway.fronts.http.openai.tokens import Tokens
from penstock.gateway.fronts.http.openapi import document
from penstock.gateway.fronts.http.rest import Rest
from penstock.gateway.fronts.server_certificates import ServerCertificates
from penstock.gateway.offload import Offload
from penstock.gateway.operations.access_log import AccessLog
from penstock.gateway.operations.metrics import CONTENT_TYPE
from penstock.gateway.requests.infer import Inference
from penstock.process.lifetime import write_ready
from penstock.process.supervised import supervise
from penstock.settings import GatewaySettings

log = structlog.get_logger()

DEFAULT_PORT: Final = 8000
_TEXT: Final = b"text/plain; charset=utf-8"
_HEAD_BYTES: Final = 1 << 16
_LOOK_EVERY_S: Final = 1.0
_BODY_SLACK: Final = 1 << 20
"""What is too large by less is refused here, with a reason; by more, by the server."""


@dataclass
class HttpFront:
    """Answers HTTP from the gateway's first moment: before its models are known, that it is alive.

    Attributes:
        address: host and port; empty while it does not listen.
    """

    serves_models = True
    early = True

    _service: InferenceService
    _inference: Inference
    _calls: Calls
    _settings: GatewaySettings
    # Set once the models are.
    _known: asyncio.Event
    _authenticator: Authenticator
    _certificates: ServerCertificates | None = None

    def __post_init__(self) -> None:
        self._offload = Offload()
        self._rest = Rest(self._service, self._inference, self._calls, self._offload)
        self._app: RestApp | None = None
        self._server: AsgiServer | None = None
        self._looking: asyncio.Task[None] | None = None
        self._read_metrics: Read | None = None
        self.address = ""

    @staticmethod
    def is_installed() -> bool:
        """Whether there is what serves HTTP."""
        return importlib.util.find_spec("h2corn") is not None

    def with_metrics(self, read: Read) -> None:
        """Serve what *read* gives at /metrics, too."""
        self._read_metrics = read

    async def start(self) -> None:
        """As `Front.start`.

        Raises:
            PortBusy: the port that was asked for is in use. If only the default one is, a warning
                says so, and there is no HTTP.
            InvalidConfiguration: a port was asked for, and the package h2corn is not installed.
        """
        given = self._settings.http_port is not None
        try:
            self._server = self._made()
        except (PortBusy, InvalidConfiguration) as error:
            if given:
                raise
            log.warning("no HTTP; --no-http says that none is wanted", reason=str(error))
            return
        await self._server.start()
        self._looking = asyncio.create_task(supervise("clients that leave", self._look))
        self.address = self._server.address
        log.info("serving HTTP", address=self.address)
        write_ready(self._settings.http_file, self.address)

    def stop_accepting(self) -> None:
        """As `Front.stop_accepting`: those whom nobody refuses yet are refused where all are."""

    async def finish(self, within_s: float) -> None:
        """As `Front.finish`."""
        await self._calls.finish(within_s)
        await self.stop()

    async def stop(self) -> None:
        """Let go of the port."""
        if self._looking is not None:
            self._looking.cancel()
        if self._server is not None:
            await self._server.shut_down()

    async def _look(self) -> None:
        while self._app is not None:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self._app.look()

    def _made(self) -> AsgiServer:
        settings = self._settings
        port = DEFAULT_PORT if settings.http_port is None else settings.http_port
        host = settings.http_host or settings.host
        most = settings.max_message_mib << 20
        rules = parse_rules(settings.grpc_restricted_protocol)
        log_file = settings.access_log
        self._app = RestApp(
            self._routes(),
            rules,
            most,
            self._offload,
            self._known,
            self._authenticator,
            None if log_file is None else AccessLog(log_file),
        )
        taken = bound(host, port, "--http-port", shared=settings.shared_port)
        return AsgiServer(self._app, taken, _options(settings, most), self._certificates)

    def _routes(self) -> tuple[Route, ...]:
        get = ("GET", "HEAD")
        own = [
            Route(re.compile("/livez"), get, "", self._live),
            Route(re.compile("/readyz"), get, "", self._ready),
        ]
        if self._read_metrics is not None:
            own.append(Route(re.compile("/metrics"), get, "", self._metrics))
        administration = Administration(self._service, self._calls)
        generate = Generate(self._service, self._inference, self._calls)
        openai = openai_routes_of(
            OpenAi(self._inference, self._calls),
            Responses(self._inference, self._calls),
            Tokens(self._inference, self._calls),
            Embeddings(self._inference, self._calls),
            Transcriptions(self._inference, self._calls),
        )
        routes = (*routes_of(self._rest, administration, generate), *openai, *own)
        described = document(routes)

        async def described_as(_: Exchange, __: Parts) -> Reply:
            """This document."""
            return Reply([described])

        return (*routes, Route(re.compile("/openapi.json"), get, "", described_as))

    async def _live(self, _: Exchange, __: Parts) -> Reply:
        """It answers, whatever the store does."""
        return Reply([b"ok\n"], _TEXT)

    async def _ready(self, exchange: Exchange, parts: Parts) -> Reply:
        """It takes requests."""
        ready = self._known.is_set() and (await self._rest.ready(exchange, parts)).status == 200
        return Reply([b"ok\n" if ready else b"not ready\n"], _TEXT, 200 if ready else 503)

    async def _metrics(self, _: Exchange, __: Parts) -> Reply:
        if self._read_metrics is None:
            raise AssertionError("there is no route without metrics")
        # Here one address often stands for all gateways, and for all processes of one.
        return Reply([await self._read_metrics(Scope.CLUSTER)], CONTENT_TYPE.encode())


def _options(settings: GatewaySettings, most: int) -> dict[str, Any]:
    return {
        "limit_connections": most_connections(settings.max_connections),
        "limit_request_head_size": _HEAD_BYTES,
        "h2_max_header_list_size": _HEAD_BYTES,
        "h2_max_header_block_size": _HEAD_BYTES,
        "max_request_body_size": most + _BODY_SLACK,
        "max_concurrent_streams": settings.grpc_max_concurrent_streams,
    }
