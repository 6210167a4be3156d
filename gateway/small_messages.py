"""Small messages: services whose requests are never large refuse those that are, unread.

gRPC has one limit of a message's size for all methods, and parses before it asks anybody. A message
of 64 MiB that should have been a name would be seconds of work and a gigabyte of memory. Here a
service gets its requests' bytes, and only those that are short enough are parsed.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from penstock.gateway.status import Context, end_with
from penstock.protos import bounds

SMALL_BYTES: Final = 1 << 16
"""The longest request of a method that only names things."""

Handler = Any


class SmallMessages:
    """Stands between a server and the services whose requests are small."""

    def __init__(self, server: grpc.aio.Server, kinds: Mapping[str, type[Message]]) -> None:
        """*kinds*: the request of each method that will be added, by "service/method"."""
        self._server = server
        self._kinds = kinds

    def add_generic_rpc_handlers(self, _: object) -> None:
        """Generated code adds each service twice; the other way names its methods."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Add *service*, whose methods have these handlers."""
        bounded = {
            name: _bounded(handler, self._kinds[f"{service}/{name}"])
            for name, handler in handlers.items()
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, bounded),)
        )


def _bounded(handler: Handler, kind: type[Message]) -> Handler:
    """*handler*, for the bytes of its requests."""
    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(
            _stream_stream(handler.stream_stream, kind),
            response_serializer=handler.response_serializer,
        )
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(
            _unary_stream(handler.unary_stream, kind),
            response_serializer=handler.response_serializer,
        )
    return grpc.unary_unary_rpc_method_handler(
        _unary_unary(handler.unary_unary, kind), response_serializer=handler.response_serializer
    )


def read(kind: type[Message], message: bytes, context: Context) -> Any:
    """The request, parsed; None for one that is too large, or damaged: its call ends so."""
    try:
        return bounds.parse(kind, message, SMALL_BYTES)
    except Exception as error:  # noqa: BLE001 - the table of statuses decides
        end_with(context, error)
        return None


def _unary_unary(answer: Any, kind: type[Message]) -> Any:
    async def respond(message: bytes, context: Context) -> Any:
        request = read(kind, message, context)
        return None if request is None else await answer(request, context)

    return respond


def _unary_stream(answer: Any, kind: type[Message]) -> Any:
    async def respond(message: bytes, context: Context) -> None:
        request = read(kind, message, context)
        if request is None:
            return
        given = answer(request, context)
        if asyncio.iscoroutine(given):  # it writes by itself
            await given
            return
        async for response in given:
            await context.write(response)

    return respond


def _stream_stream(answer: Any, kind: type[Message]) -> Any:
    async def respond(messages: AsyncIterator[bytes], context: Context) -> None:
        async def requests() -> AsyncIterator[Any]:
            async for message in messages:
                request = read(kind, message, context)
                if request is None:
                    return
                yield request

        async for response in answer(requests(), context):
            await context.write(response)

    return respond
