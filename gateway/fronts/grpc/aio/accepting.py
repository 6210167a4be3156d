"""Accepts several calls of a method at a time, where grpc.aio accepts one.

grpc.aio asks gRPC's core for one call, and for the next one some turns of the event loop later.
With many callers those turns are half of what all calls cost. Here several calls of a method are
asked for, whoever comes first; what is done for each is grpc.aio's own. This takes parts of it that
are not public: where a release has others, it accepts calls as ever.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc
import structlog
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it is not public

log = structlog.get_logger()

_AT_ONCE: Final = 16
"""Calls of a method that may begin at the same turn. More of them gained nothing."""

_PARTS: Final = {
    "_handle_rpc": (
        *("method_name", "method_resolver", "interceptors"),
        *("rpc_state", "loop", "concurrency_exceeded"),
    ),
    "_schedule_rpc_coro": ("rpc_coro", "rpc_state", "loop", "method_name"),
    "_request_registered_call": ("self", "method"),
}
"""The coroutines of grpc.aio that are called here, with their arguments."""


class Acceptors:
    """Of a server, for some of its methods."""

    def __init__(self, server: grpc.aio.Server, handlers: Mapping[str, Any]) -> None:
        """*handlers*: how grpc.aio handles methods, by path; the *server* has them from here."""
        self._server: Any = server
        self._handlers = dict(handlers)
        for path, handler in self._handlers.items():
            service, name = path.lstrip("/").split("/")
            server.add_registered_method_handlers(service, {name: handler})
        self._waiting: set[asyncio.Task[None]] = set()
        self._calls: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"Acceptors({len(self._waiting)} waiting, {len(self._calls)} calls)"

    def start(self) -> None:
        """Accept calls from now on; the server has started."""
        if not parts_are_known():
            log.info(
                "this release of grpcio is not known: one call is accepted at a time, which costs "
                "small requests more",
                grpcio=grpc.__version__,
            )
            return
        resolver = cygrpc._MethodResolver([], self._handlers)  # noqa: SLF001
        for path in self._handlers:
            for _ in range(_AT_ONCE):
                _keep(asyncio.create_task(self._accept(path, resolver)), self._waiting)

    async def _accept(self, path: str, resolver: Any) -> None:
        loop, core = asyncio.get_running_loop(), self._server._server  # noqa: SLF001
        while core.is_running():
            try:
                state = await core._request_registered_call(path.encode())  # noqa: SLF001
            except cygrpc._RequestCallError:  # noqa: SLF001
                # The server stops, or the call was over before it had begun.
                continue
            handling = cygrpc._handle_rpc(path, resolver, (), state, loop, False)  # noqa: SLF001
            call = cygrpc._schedule_rpc_coro(handling, state, loop, path)  # noqa: SLF001
            _keep(loop.create_task(call), self._calls)


def parts_are_known() -> bool:
    """Whether the grpcio that is installed has the parts that are used here."""
    server = getattr(cygrpc, "AioServer", None)
    found = {
        name: _arguments(getattr(cygrpc, name, None) or getattr(server, name, None))
        for name in _PARTS
    }
    others = ("_MethodResolver", "_RequestCallError")
    return found == _PARTS and all(hasattr(cygrpc, name) for name in others)


def _arguments(function: Callable[..., Any] | None) -> tuple[str, ...]:
    code = getattr(function, "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount]


def _keep(task: asyncio.Task[None], among: set[asyncio.Task[None]]) -> None:
    """The event loop knows its tasks weakly."""
    among.add(task)
    task.add_done_callback(among.discard)
