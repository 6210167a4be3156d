"""The ASGI application that answers RPCs: it finds the method of each."""

import asyncio
from typing import Any, Final

from penstock.errors import PenstockError, Unimplemented
from penstock.gateway.fronts.asgi import Receive, Scope, Send, certificate_of, connection_of
from penstock.gateway.fronts.grpc.asgi import wire
from penstock.gateway.fronts.grpc.asgi.rpc import AsgiRpc, Terms
from penstock.gateway.fronts.grpc.rpc import Methods

_GRPC: Final = b"application/grpc"


class RpcApp:
    """Answers by *methods* what is gRPC; all else is no business of its."""

    def __init__(self, methods: Methods, terms: Terms) -> None:
        self._methods = methods
        self._terms = terms
        self._streams: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One RPC, as an ASGI server calls it."""
        if scope["type"] != "http":
            return
        if not _is_grpc(scope):
            await _refuse(send)
            return
        connection, io = connection_of(scope), (receive, send)
        try:
            asked = wire.asked(scope["headers"])
            method = self._methods.get(scope["path"])
            if method is None:
                raise Unimplemented(f"there is no method {scope['path'][:200]}")
        except PenstockError as error:
            await AsgiRpc(connection, wire.Asked(()), self._terms, io).refuse(error)
            return
        if method.streams and (task := asyncio.current_task()) is not None:
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)
        rpc = AsgiRpc(connection, asked, self._terms, io, certificate_of(scope))
        await rpc.run(method)

    def drain(self) -> None:
        """What is cancelled from now on has not been given up by its client."""
        self._terms.ending = True

    def end_streams(self) -> None:
        """End those that have no end of their own: somebody may watch this gateway's health."""
        self.drain()
        for task in self._streams:
            task.cancel()


def _is_grpc(scope: Scope) -> bool:
    if scope["http_version"] != "2":
        return False
    # A loop, since that takes half of the time of a generator, for each call.
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bool(value.lower().startswith(_GRPC))
    return False


async def _refuse(send: Send) -> None:
    """Tell whoever does not speak gRPC, as the specification has it."""
    head: dict[str, Any] = {"type": "http.response.start", "status": 415, "headers": []}
    await send(head)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
