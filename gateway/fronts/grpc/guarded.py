"""Services that come as generated code: their requests are read as those of all other calls.

gRPC has one limit of a message's size for all methods, and parses before it asks anybody: 64 MiB
that should have been a name would be seconds of work and a gigabyte of memory. Here a service's
requests are read when there is memory for them, and only those that are short enough are parsed.
"""

import contextlib
import inspect
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from penstock.gateway.fronts.grpc.calls import Answer, Calls, Ending
from penstock.gateway.fronts.grpc.statuses import Context
from penstock.protos import bounds

SMALL_BYTES: Final = 1 << 16
"""The longest request of a method that only names things."""

Kinds = Mapping[str, type[Message]]
"""The request of each method, by "service/method"."""


class GuardedServer:
    """Stands for a server where generated code adds its services to one.

    Args:
        kinds: of all methods that will be added.
        always: their calls are taken whatever memory there is.
    """

    def __init__(
        self, server: grpc.aio.Server, calls: Calls, kinds: Kinds, *, always: bool = False
    ) -> None:
        self._server = server
        self._calls = calls
        self._kinds = kinds
        self._always = always

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """Add them, guarded."""
        guarded = tuple(
            Guarded(one, self._calls, self._kinds, always=self._always) for one in handlers
        )
        self._server.add_generic_rpc_handlers(guarded)

    def add_registered_method_handlers(self, name: str, handlers: Any) -> None:
        """The same once more, which gRPC would prefer: not guarded, so left out."""


class Guarded(grpc.GenericRpcHandler):
    """The service of *handler*, whose requests are read as all others.

    Args:
        always: its calls are taken whatever memory there is.
    """

    def __init__(self, handler: Any, calls: Calls, kinds: Kinds, *, always: bool = False) -> None:
        self._handler = handler
        self._calls = calls
        self._kinds = kinds
        self._always = always
        self._known: dict[Any, Any] = {}

    def service(self, details: Any) -> Any:
        """The handler of one method; None where it is not this service's."""
        found = self._handler.service(details)
        if found is None:
            return None
        if found not in self._known:
            self._known[found] = self._guarded(found, self._kinds[details.method.lstrip("/")])
        return self._known[found]

    def _guarded(self, found: Any, kind: type[Message]) -> Any:
        """*found*, for requests that are *kind*."""
        if found.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._conversing(found, kind), response_serializer=found.response_serializer
            )
        if found.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(found, kind), response_serializer=found.response_serializer
            )
        answer = self._calls.answering(
            self._answering(found, kind), always=self._always, begins=False
        )
        return grpc.stream_unary_rpc_method_handler(
            answer, response_serializer=found.response_serializer
        )

    def _answering(self, found: Any, kind: type[Message]) -> Answer:
        async def answer(message: bytes, context: Context) -> Any:
            return await found.unary_unary(bounds.parse(kind, message, SMALL_BYTES), context)

        return answer

    def _streaming(self, found: Any, kind: type[Message]) -> Any:
        async def stream(_: Any, context: Context) -> None:
            with Ending(context):
                message = await self._calls.read(context, always=self._always, begins=False)
                answering = found.unary_stream(bounds.parse(kind, message, SMALL_BYTES), context)
                self._calls.followers += 1
                try:
                    if not inspect.isasyncgen(answering):
                        await answering
                        return
                    async with contextlib.aclosing(answering) as responses:
                        async for response in responses:
                            await context.write(response)
                finally:
                    self._calls.followers -= 1

        return stream

    def _conversing(self, found: Any, kind: type[Message]) -> Any:
        async def converse(messages: AsyncIterator[bytes], context: Context) -> None:
            async def requests() -> AsyncIterator[Any]:
                async for message in messages:
                    yield bounds.parse(kind, message, SMALL_BYTES)

            with Ending(context):
                async for response in found.stream_stream(requests(), context):
                    await context.write(response)

        return converse
