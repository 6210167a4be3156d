"""Services that come as generated code: their requests are read as those of all other calls.

A server has one limit of a message's size for all methods: 64 MiB that should have been a name
would be seconds of work and a gigabyte of memory. Here a service's requests are read when there is
memory for them, and only those that are short enough are parsed.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from penstock.gateway.fronts.grpc.calls import Calls, Ending
from penstock.gateway.fronts.grpc.rpc import Handle, Method, Rpc
from penstock.gateway.requests.call import Call
from penstock.protos import bounds
from penstock.protos.wire import Buffer

SMALL_BYTES: Final = 1 << 16
"""The longest request of a method that only names things."""

Kinds = Mapping[str, type[Message]]
"""The request of each method, by "service/method"."""


class GuardedServices:
    """What generated code takes for a server: the methods that it adds go to *methods*, guarded."""

    def __init__(
        self, methods: dict[str, Method], calls: Calls, kinds: Kinds, *, always: bool = False
    ) -> None:
        """*always*: calls of the methods that are added are taken whatever memory there is."""
        self._methods = methods
        self._calls = calls
        self._kinds = kinds
        self._always = always

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """The same as below, for servers that know no names."""

    def add_registered_method_handlers(self, name: str, handlers: Mapping[str, Any]) -> None:
        """Add the methods of the service *name*."""
        for method, found in handlers.items():
            kind = self._kinds[f"{name}/{method}"]
            guarded = _Guarded(found, kind, self._calls, self._always)
            self._methods[f"/{name}/{method}"] = guarded.method()


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A method of generated code, whose requests are read as all others."""

    found: Any
    kind: type[Message]
    calls: Calls
    always: bool

    def method(self) -> Method:
        if self.found.request_streaming:
            return Method(self._converse, streams=True)
        if self.found.response_streaming:
            return Method(self._stream, streams=True)
        return Method(self._answering())

    def _parsed(self, message: bytes) -> Any:
        return bounds.parse(self.kind, message, SMALL_BYTES)

    def _answering(self) -> Handle:
        async def answer(message: Buffer, call: Call) -> bytes:
            reply = await self.found.unary_unary(self._parsed(bytes(message)), call)
            return bytes(self.found.response_serializer(reply))

        return self.calls.answering(answer, always=self.always, begins=False)

    async def _stream(self, rpc: Rpc) -> None:
        with Ending(rpc):
            message = await self.calls.read(rpc, always=self.always, begins=False)
            answering = self.found.unary_stream(self._parsed(message), rpc.call)
            self.calls.followers += 1
            try:
                await self._write_all(rpc, answering)
            finally:
                self.calls.followers -= 1

    async def _converse(self, rpc: Rpc) -> None:
        async def requests() -> AsyncIterator[Any]:
            async for message in self.calls.messages(rpc):
                yield self._parsed(message)

        with Ending(rpc):
            await self._write_all(rpc, self.found.stream_stream(requests(), rpc.call))

    async def _write_all(self, rpc: Rpc, answering: AsyncGenerator[Any, None]) -> None:
        async with contextlib.aclosing(answering) as replies:
            async for reply in replies:
                await rpc.write(self.found.response_serializer(reply))
