"""What each route of the REST protocol answers: the KServe v2 protocol with Triton's extensions.

Each route stands for an RPC of the Open Inference Protocol, and asks what that asks.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

from penstock.errors import InvalidRequest, Unimplemented
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.grpc.inference_service import InferenceService
from penstock.gateway.fronts.http import infer_json
from penstock.gateway.fronts.http.exchange import Exchange, Parts, Reply
from penstock.gateway.fronts.http.json_messages import as_json, dumped, parsed_object
from penstock.gateway.fronts.http.statuses import error_json
from penstock.gateway.limits.unread import SMALL_BYTES
from penstock.gateway.offload import Offload
from penstock.gateway.requests.infer import Inference, ManyAnswers
from penstock.protos import grpc_service_pb2 as pb

_IN_PASSING: Final = 1 << 14
"""Bytes of JSON that are read, or of a reply that are written as JSON, on the event loop."""

_DECOUPLED: Final = "HTTP end point doesn't support models with decoupled transaction policy"
_BINARY: Final = b"application/octet-stream"
_HEADER_LENGTH: Final = b"inference-header-content-length"


class Rest:
    """Answers requests by an inference service."""

    def __init__(
        self, service: InferenceService, inference: Inference, calls: Calls, offload: Offload
    ) -> None:
        self._service = service
        self._inference = inference
        self._calls = calls
        self._offload = offload

    async def live(self, exchange: Exchange, _: Parts) -> Reply:
        """Live: it answers."""
        return await self._said(exchange, "ServerLive", pb.ServerLiveRequest(), "live")

    async def ready(self, exchange: Exchange, _: Parts) -> Reply:
        """Ready: it takes requests."""
        return await self._said(exchange, "ServerReady", pb.ServerReadyRequest(), "ready")

    async def model_ready(self, exchange: Exchange, parts: Parts) -> Reply:
        """Ready: each stage of the model has a worker."""
        request = pb.ModelReadyRequest(name=parts["model"], version=parts["version"])
        reply = await self._said(exchange, "ModelReady", request, "ready")
        if reply.status == 200:
            return reply
        return reply._replace(parts=[error_json("Model version not ready")])

    async def server_metadata(self, exchange: Exchange, _: Parts) -> Reply:
        """Name, version, and the extensions that are implemented."""
        return await self._asked(exchange, "ServerMetadata", pb.ServerMetadataRequest())

    async def model_metadata(self, exchange: Exchange, parts: Parts) -> Reply:
        """Versions, inputs and outputs."""
        request = pb.ModelMetadataRequest(name=parts["model"], version=parts["version"])
        return await self._asked(exchange, "ModelMetadata", request)

    async def model_config(self, exchange: Exchange, parts: Parts) -> Reply:
        """The configuration, completed."""
        request = pb.ModelConfigRequest(name=parts["model"], version=parts["version"])
        response = await self._service.answer("ModelConfig", request, exchange.call)
        return Reply([dumped(as_json(response.config))])

    async def statistics(self, exchange: Exchange, parts: Parts) -> Reply:
        """Statistics of the whole cluster."""
        request = pb.ModelStatisticsRequest(name=parts["model"], version=parts["version"])
        return await self._asked(exchange, "ModelStatistics", request)

    async def repository_index(self, exchange: Exchange, parts: Parts) -> Reply:
        """Every version with its state and the reason."""
        ready = (await self._body(exchange)).get("ready", False)
        if not isinstance(ready, bool):
            raise InvalidRequest("Unable to parse 'ready': it must be a boolean")
        request = pb.RepositoryIndexRequest(repository_name=parts["repository"], ready=ready)
        response = await self._service.answer("RepositoryIndex", request, exchange.call)
        models = [
            {name: value for name, value in as_json(model).items() if value or name == "name"}
            for model in response.models
        ]
        return Reply([dumped(models)])

    async def load(self, exchange: Exchange, parts: Parts) -> Reply:
        """Load a model on the whole cluster."""
        request = pb.RepositoryModelLoadRequest(
            repository_name=parts["repository"], model_name=parts["model"]
        )
        given = _parameters(await self._body(exchange))
        for name, value in given.items():
            if not isinstance(value, str):
                raise InvalidRequest(f"the load parameter '{name}' must be a string")
            if name.startswith("file:"):
                request.parameters[name].bytes_param = _decoded(name, value)
            else:
                request.parameters[name].string_param = value
        await self._service.answer("RepositoryModelLoad", request, exchange.call)
        return Reply()

    async def unload(self, exchange: Exchange, parts: Parts) -> Reply:
        """Unload a model from the whole cluster."""
        request = pb.RepositoryModelUnloadRequest(
            repository_name=parts["repository"], model_name=parts["model"]
        )
        given = _parameters(await self._body(exchange))
        dependents = given.get("unload_dependents", False)
        if not isinstance(dependents, bool):
            raise InvalidRequest("the unload parameter 'unload_dependents' must be a boolean")
        request.parameters["unload_dependents"].bool_param = dependents
        await self._service.answer("RepositoryModelUnload", request, exchange.call)
        return Reply()

    async def infer(self, exchange: Exchange, parts: Parts) -> Reply:
        """Answer a request for inference."""
        body = await self._calls.read(exchange)
        length = _json_bytes(exchange, len(body))
        asked = await self._beside(
            length, infer_json.request_of, parts["model"], parts["version"], body, length
        )
        del body
        try:
            reply = await self._inference.infer(asked.message, exchange.call)
        except ManyAnswers as error:
            raise Unimplemented(_DECOUPLED) from error
        as_json = len(reply) if asked.wants_json() else 0
        head, binary = await self._beside(as_json, infer_json.reply_of, reply, asked)
        size = len(head) + sum(map(len, binary))
        if size >= SMALL_BYTES:
            self._calls.count_unread(exchange.call.connection, size)
        if not binary:
            return Reply([head], may_shrink=True)
        headers = [(_HEADER_LENGTH, b"%d" % len(head))]
        return Reply([head, *binary], _BINARY, headers=headers, may_shrink=True)

    async def _beside(self, size: int, convert: Callable[..., Any], *arguments: Any) -> Any:
        """What *convert* makes of *size* bytes: beside the event loop if those are many."""
        if size <= _IN_PASSING:
            return convert(*arguments)
        return await self._offload.run(convert, *arguments)

    async def _said(self, exchange: Exchange, name: str, request: Any, field: str) -> Reply:
        response = await self._service.answer(name, request, exchange.call)
        return Reply(status=200 if getattr(response, field) else 400)

    async def _asked(self, exchange: Exchange, name: str, request: Any) -> Reply:
        response = await self._service.answer(name, request, exchange.call)
        return Reply([dumped(as_json(response))])

    async def _body(self, exchange: Exchange) -> dict[str, Any]:
        body = await self._calls.read(exchange)
        found: dict[str, Any] = await self._beside(len(body), parsed_object, body)
        return found


def _parameters(body: Mapping[str, Any]) -> Mapping[str, Any]:
    given = body.get("parameters", {})
    if not isinstance(given, dict):
        raise InvalidRequest("Unable to parse 'parameters': it must be an object")
    return given


def _decoded(name: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"the load parameter '{name}' is no base64") from error


def _json_bytes(exchange: Exchange, size: int) -> int:
    """How much of a body of *size* bytes is JSON.

    Raises:
        InvalidRequest: the header that says it cannot be.
        Unimplemented: nothing of it is.
    """
    header = exchange.headers.get(_HEADER_LENGTH)
    if header is None:
        return size
    text = header.decode("latin-1")
    if not text.isdigit() or int(text) > size:
        raise InvalidRequest(f"inference header size should be in range (0, {size}), got: {text}")
    if int(text) == 0:
        raise Unimplemented(
            "requests of binary data alone are not offered: send their JSON as well, and its size "
            "as Inference-Header-Content-Length"
        )
    return int(text)
