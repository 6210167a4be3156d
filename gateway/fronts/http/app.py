"""The ASGI application of the REST front: routes, who may use them, and how failures are told."""

import asyncio
import contextlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from penstock.clock import monotonic
from penstock.errors import Cancelled, Code, ModelNotReady, PermissionDenied, ShuttingDown
from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.access.needs import need_of_route
from penstock.gateway.fronts.asgi import Receive, Scope, Send
from penstock.gateway.fronts.grpc.access import Rule, group_of, let_in
from penstock.gateway.fronts.grpc.connections import gone
from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.gateway.fronts.http.administration import Administration
from penstock.gateway.fronts.http.exchange import Exchange, Parts, Reply, segment
from penstock.gateway.fronts.http.generate import Generate
from penstock.gateway.fronts.http.openai import shapes
from penstock.gateway.fronts.http.openai.api import OpenAi
from penstock.gateway.fronts.http.openai.audio.api import Transcriptions
from penstock.gateway.fronts.http.openai.embeddings import Embeddings
from penstock.gateway.fronts.http.openai.responses.api import Responses
from penstock.gateway.fronts.http.openai.tokens import Tokens
from penstock.gateway.fronts.http.rest import Rest
from penstock.gateway.fronts.http.statuses import Refused, error_json, refused
from penstock.gateway.limits import admission
from penstock.gateway.offload import Offload
from penstock.gateway.operations.access_log import AccessLog, Ended

_MODEL: Final = r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[0-9]+))?"
_REPOSITORY: Final = r"/v2/repository(?:/(?P<repository>[^/]+))?"
_CONTROL: Final = _REPOSITORY + "/models/(?P<model>[^/]+)"
_REGION: Final = r"memory(?:/region/(?P<region>[^/]+))?"

OPENAI: Final = "/v1/"
"""How the paths of the OpenAI API begin."""

_RESPONSE: Final = OPENAI + "responses/(?P<id>resp_[^/]+)"

TOKENIZE: Final = "/tokenize"
DETOKENIZE: Final = "/detokenize"

_ALWAYS: Final = ("", "ServerLive")
"""They say how this gateway is, from its first moment."""

_QUICK_S: Final = 1.0

Handle = Callable[[Exchange, Parts], Awaitable[Reply | None]]
_Row = tuple[str, tuple[str, ...], str, Handle]


class Route(NamedTuple):
    """What is answered by *handle*, which gives None if it has sent all by itself.

    Attributes:
        rpc: of the inference service, which this stands for; what restricts that restricts this.
            Empty where it stands for none, and says only how this gateway is.
        methods: of HTTP.
    """

    pattern: re.Pattern[str]
    methods: tuple[str, ...]
    rpc: str
    handle: Handle


def routes_of(rest: Rest, administration: Administration, generate: Generate) -> tuple[Route, ...]:
    """The routes of Triton's REST protocol."""
    get, post, both = ("GET",), ("POST",), ("GET", "POST")
    a = administration
    return _routes(
        (_MODEL + "/infer", post, "ModelInfer", rest.infer),
        (_MODEL + "/generate", post, "ModelStreamInfer", generate.once),
        (_MODEL + "/generate_stream", post, "ModelStreamInfer", generate.stream),
        ("/v2/health/live", get, "ServerLive", rest.live),
        ("/v2/health/ready", get, "ServerReady", rest.ready),
        ("/v2/?", get, "ServerMetadata", rest.server_metadata),
        (r"/v2/models/stats(?P<model>)(?P<version>)", get, "ModelStatistics", rest.statistics),
        (_MODEL + "/stats", get, "ModelStatistics", rest.statistics),
        (_MODEL + "/ready", get, "ModelReady", rest.model_ready),
        (_MODEL + "/config", get, "ModelConfig", rest.model_config),
        (_MODEL + "/trace/setting", both, "TraceSetting", a.trace_settings),
        (_MODEL, get, "ModelMetadata", rest.model_metadata),
        (_REPOSITORY + "/index", post, "RepositoryIndex", rest.repository_index),
        (_CONTROL + "/load", post, "RepositoryModelLoad", rest.load),
        (_CONTROL + "/unload", post, "RepositoryModelUnload", rest.unload),
        (r"/v2/trace/setting(?P<model>)", both, "TraceSetting", a.trace_settings),
        ("/v2/logging", both, "LogSettings", a.log_settings),
        *_shared_memory(a),
    )


def openai_routes_of(
    openai: OpenAi,
    responses: Responses,
    tokens: Tokens,
    embeddings: Embeddings,
    transcriptions: Transcriptions,
) -> tuple[Route, ...]:
    """The routes of the OpenAI API, and those of tokens, which have its errors."""
    get, post = ("GET",), ("POST",)
    return _routes(
        (OPENAI + "completions", post, "ModelStreamInfer", openai.completions),
        (OPENAI + "chat/completions", post, "ModelStreamInfer", openai.chat),
        (OPENAI + "embeddings", post, "ModelInfer", embeddings.create),
        (OPENAI + "audio/transcriptions", post, "ModelStreamInfer", transcriptions.create),
        (OPENAI + "models", get, "RepositoryIndex", openai.models),
        (OPENAI + "models/(?P<model>[^/]+)", get, "RepositoryIndex", openai.model),
        (OPENAI + "responses", post, "ModelStreamInfer", responses.create),
        (OPENAI + "responses/input_tokens", post, "ModelStreamInfer", responses.count),
        (_RESPONSE, get, "ModelStreamInfer", responses.fetch),
        (_RESPONSE + "/cancel", post, "ModelStreamInfer", responses.cancel),
        (_RESPONSE + "/input_items", get, "ModelStreamInfer", responses.input_items),
        (TOKENIZE, post, "ModelStreamInfer", tokens.tokenize),
        (DETOKENIZE, post, "ModelStreamInfer", tokens.detokenize),
    )


def _routes(*table: _Row) -> tuple[Route, ...]:
    return tuple(
        Route(re.compile(pattern), methods, rpc, handle) for pattern, methods, rpc, handle in table
    )


def _shared_memory(a: Administration) -> tuple[_Row, ...]:
    system, cuda = "/v2/systemshared" + _REGION, "/v2/cudashared" + _REGION
    get, post = ("GET",), ("POST",)
    return (
        (system + "/status", get, "SystemSharedMemoryStatus", a.system_status),
        (system + "/register", post, "SystemSharedMemoryRegister", a.system_register),
        (system + "/unregister", post, "SystemSharedMemoryUnregister", a.system_unregister),
        (cuda + "/status", get, "CudaSharedMemoryStatus", a.cuda_status),
        (cuda + "/register", post, "CudaSharedMemoryRegister", a.cuda_register),
        (cuda + "/unregister", post, "CudaSharedMemoryUnregister", a.cuda_unregister),
    )


class _Waiting(NamedTuple):
    """A request that has no answer yet."""

    exchange: Exchange
    began_s: float


@dataclass
class RestApp:
    """Answers each request by the first of *routes* that fits.

    Args:
        rules: group of RPCs -> the header that it needs, over HTTP as well.
        most: bytes that a body may have.
        known: set once the models are; until then what needs them is refused.
        authenticator: knows who calls.
        log: where each request has a line, if anywhere.
    """

    _routes: tuple[Route, ...]
    _rules: Mapping[str, Rule]
    _most: int
    _offload: Offload
    _known: asyncio.Event
    _authenticator: Authenticator
    _log: AccessLog | None = None
    _waiting: dict[asyncio.Task[Any], _Waiting] = field(default_factory=dict, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as an ASGI server calls it."""
        if scope["type"] != "http":
            return
        exchange, began_s = Exchange(scope, receive, send, self._most, self._offload), monotonic()
        # Whoever has gone hears nothing.
        with contextlib.suppress(asyncio.CancelledError, OSError), self._watched(exchange, scope):
            reply = await self._reply(exchange)
            if reply is not None:
                await exchange.answer(reply)
        if self._log is not None:
            self._log.write(self._ended(exchange, monotonic() - began_s))

    @contextlib.contextmanager
    def _watched(self, exchange: Exchange, scope: Scope) -> Iterator[None]:
        """`look` looks after it meanwhile."""
        task = asyncio.current_task()
        if task is None or scope.get("http_version") == "2":
            yield
            return
        self._waiting[task] = _Waiting(exchange, monotonic())
        try:
            yield
        finally:
            del self._waiting[task]

    async def look(self) -> None:
        """End what was asked over HTTP/1.1 by those who have gone: no server says so.

        To be called now and then; what is answered within `_QUICK_S` is not looked at.
        """
        since_s = monotonic() - _QUICK_S
        long = {task: one for task, one in self._waiting.items() if one.began_s < since_s}
        if not long:
            return
        away = await asyncio.to_thread(
            gone, {one.exchange.call.connection for one in long.values()}
        )
        for task, (exchange, _) in long.items():
            if exchange.call.connection in away and task in self._waiting:
                exchange.left = True
                task.cancel()

    async def _reply(self, exchange: Exchange) -> Reply | None:
        try:
            route, parts = self._found(exchange)
            self._check(route, exchange)
            return await route.handle(exchange, parts)
        except asyncio.CancelledError:
            if exchange.gone:
                raise
            task = asyncio.current_task()
            while task is not None and task.cancelling():
                task.uncancel()
            error: Exception = ShuttingDown(admission.SHUTTING_DOWN)
            if exchange.left:
                error = Cancelled("whoever asked has gone")
        except Exception as failed:  # noqa: BLE001 - `refused` logs what nobody foresaw
            error = failed
        status, headers, failure = refused(error, exchange.call.caller)
        body = error_json(failure.text)
        if exchange.path.startswith(OPENAI) or exchange.path in (TOKENIZE, DETOKENIZE):
            body = shapes.error(status, failure.text, error)
        return Reply([body], status=status, headers=headers)

    def _ended(self, exchange: Exchange, seconds: float) -> Ended:
        """What the log has of a request."""
        path, call = exchange.path, exchange.call
        route, match = self._match(path)
        model = match.groupdict().get("model") if match else None
        return Ended(
            call.caller,
            call.connection,
            "http",
            f"{SERVICE}/{route.rpc}" if route and route.rpc else path,
            unquote(model or "", errors="replace"),
            exchange.status or Code.CANCELLED.name,
            seconds,
            exchange.received,
            exchange.sent,
        )

    def _match(self, path: str) -> tuple[Route, re.Match[str]] | tuple[None, None]:
        found = ((one, match) for one in self._routes if (match := one.pattern.fullmatch(path)))
        return next(found, (None, None))

    def _found(self, exchange: Exchange) -> tuple[Route, Parts]:
        route, match = self._match(exchange.path)
        if route is None or match is None:
            raise Refused(404, self._nothing_at(exchange.path))
        if exchange.method not in route.methods:
            takes = " or ".join(route.methods)
            raise Refused(405, f"Method Not Allowed: this path takes {takes}")
        if route.rpc not in _ALWAYS and not self._known.is_set():
            raise ModelNotReady("this gateway is starting: its models are not known yet")
        return route, {name: segment(part or "") for name, part in match.groupdict().items()}

    def _nothing_at(self, path: str) -> str:
        """What whoever asks for it is told."""
        if not path.startswith(OPENAI):
            return "Not Found"
        there = (route.pattern.pattern for route in self._routes)
        plain = {one for one in there if one.startswith(OPENAI) and "(" not in one}
        offered = ", ".join(sorted(plain))
        return f"Not Found: of the OpenAI API there are {offered}"

    def _check(self, route: Route, exchange: Exchange) -> None:
        """Refuse whoever may not use a route, or lacks the header that its RPC needs.

        Raises:
            Unauthenticated, PermissionDenied: with what to do.
            Refused: with Triton's words.
        """
        need = need_of_route(route.rpc, route.pattern.pattern)
        if need is None:
            raise PermissionDenied("nobody has said who may use this route")
        if need.scope is not None:
            let_in(exchange, need, self._authenticator)
        if not (self._rules and route.rpc):
            return
        group = group_of(f"{SERVICE}/{route.rpc}")
        if group is None:
            raise Refused(403, "This API is in no protocol, and some are restricted")
        rule = self._rules.get(group)
        if rule is None:
            return
        sent = exchange.headers.get(rule.header.encode(), b"")
        if not hmac.compare_digest(sent, rule.value.encode()):
            raise Refused(403, f"This API is restricted, expecting header '{rule.header}'")
