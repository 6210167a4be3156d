"""Guarded services: those that come as generated code read their messages as all other calls do."""

import contextlib
import inspect
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from penstock.errors import InvalidRequest, PenstockError
from penstock.gateway.calls import Calls
from penstock.gateway.status import Context, abort


class GuardedServer:
    """Stands for a server where generated code adds its services to one.

    Args:
        always: their calls are taken whatever memory there is.
    """

    def __init__(self, server: grpc.aio.Server, calls: Calls, *, always: bool = False) -> None:
        self._server = server
        self._calls = calls
        self._always = always

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """Add them, guarded."""
        guarded = tuple(Guarded(one, self._calls, always=self._always) for one in handlers)
        self._server.add_generic_rpc_handlers(guarded)

    def add_registered_method_handlers(self, name: str, handlers: Any) -> None:
        """The same once more, which gRPC would prefer: not guarded, so left out."""


class Guarded(grpc.GenericRpcHandler):
    """The service of *handler*, whose messages are read as all others.

    Args:
        always: its calls are taken whatever memory there is.
    """

    def __init__(self, handler: Any, calls: Calls, *, always: bool = False) -> None:
        self._handler = handler
        self._calls = calls
        self._always = always
        self._known: dict[Any, Any] = {}

    def service(self, details: Any) -> Any:
        """The handler of one method; None where it is not this service's."""
        found = self._handler.service(details)
        if found is None or found.request_streaming:
            return found
        if found not in self._known:
            self._known[found] = self._guarded(found)
        return self._known[found]

    def _guarded(self, found: Any) -> Any:
        """*found*, but it reads its only message itself."""
        if not found.response_streaming:
            return grpc.stream_unary_rpc_method_handler(
                self._answering(found), response_serializer=found.response_serializer
            )
        return grpc.stream_stream_rpc_method_handler(
            self._streaming(found), response_serializer=found.response_serializer
        )

    def _answering(self, found: Any) -> Any:
        async def answer(_: Any, context: Context) -> Any:
            request = await self._request(found, context)
            return await found.unary_unary(request, context)

        return answer

    def _streaming(self, found: Any) -> Any:
        async def stream(_: Any, context: Context) -> None:
            answering = found.unary_stream(await self._request(found, context), context)
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

    async def _request(self, found: Any, context: Context) -> Any:
        try:
            read = self._calls.read(context, always=self._always, begins=False)
            return found.request_deserializer(await read)
        except DecodeError:
            await abort(context, InvalidRequest("the message is damaged or cut off"))
        except PenstockError as error:
            await abort(context, error)
