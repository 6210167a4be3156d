"""The routes of the generate extension: one reply, or as many as come, as server-sent events."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from penstock.errors import InvalidRequest
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.grpc.inference_service import InferenceService
from penstock.gateway.fronts.http import generate_json
from penstock.gateway.fronts.http.exchange import Exchange, Parts, Reply
from penstock.gateway.fronts.http.json_messages import dumped, parsed_object
from penstock.gateway.fronts.http.statuses import refusal_of
from penstock.gateway.requests.infer import Inference
from penstock.protos import grpc_service_pb2 as pb

_EVENTS: Final = b"text/event-stream; charset=utf-8"
_ONE: Final = (
    "generate expects model to produce exactly 1 response, use generate stream for model that "
    "generates various number of responses"
)


class Generate:
    """Answers requests of the generate extension."""

    def __init__(self, service: InferenceService, inference: Inference, calls: Calls) -> None:
        self._service = service
        self._inference = inference
        self._calls = calls

    async def once(self, exchange: Exchange, parts: Parts) -> Reply:
        """The model's only reply."""
        message = await self._message(exchange, parts)
        with self._inference.hold(message):
            asked = await self._inference.read(message, exchange.call)
            if asked.served.language:
                whole = await self._inference.whole(asked)
                return Reply([dumped(generate_json.reply_of(whole))])
        async with aclosing(self._replies(message, exchange)) as replies:
            found = [reply async for reply in replies]
        if len(found) != 1:
            raise InvalidRequest(_ONE)
        return Reply(found)

    async def stream(self, exchange: Exchange, parts: Parts) -> Reply | None:
        """Each reply as it comes; None, since all is sent."""
        message = await self._message(exchange, parts)
        try:
            async with aclosing(self._replies(message, exchange)) as replies:
                async for reply in replies:
                    await self._send(exchange, reply)
        except Exception as error:
            if not exchange.began:
                raise
            _, _, body = refusal_of(error, exchange.call.caller)
            await self._send(exchange, body)
        if not exchange.began:
            await exchange.begin(200, [(b"content-type", _EVENTS)])
        await exchange.send(b"", more=False)
        return None

    async def _send(self, exchange: Exchange, body: bytes) -> None:
        """One event."""
        if not exchange.began:
            await exchange.begin(200, [(b"content-type", _EVENTS)])
        await exchange.send(b"data: " + body + b"\n\n", more=True)

    async def _message(self, exchange: Exchange, parts: Parts) -> bytes:
        body = parsed_object(await self._calls.read(exchange))
        request = pb.ModelMetadataRequest(name=parts["model"], version=parts["version"])
        metadata = await self._service.answer("ModelMetadata", request, exchange.call)
        return generate_json.request_of(metadata, parts["version"], body)

    async def _replies(self, message: bytes, exchange: Exchange) -> AsyncGenerator[bytes, None]:
        """The replies to *message*, as JSON."""
        with self._inference.hold(message):
            asked = await self._inference.read(message, exchange.call)
            if not asked.served.decoupled:
                yield dumped(generate_json.reply_of(await self._inference.answer(asked)))
                return
            async with aclosing(self._inference.responses(asked)) as responses:
                async for part in responses:
                    if not part.final or not generate_json.is_empty(part.body):
                        yield dumped(generate_json.reply_of(part.body))
