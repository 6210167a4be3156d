"""grpc.health.v1: whether this process takes requests. It speaks of itself, never of Redis.

The servicer that comes with grpcio-health-checking forgets all who watch a service when one of
them leaves; here each hears of every change.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock.errors import Code, PenstockError

_Status = health_pb2.HealthCheckResponse


class ServiceNotFound(PenstockError):
    """There is no service of that name."""

    code = Code.NOT_FOUND


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Check and Watch; not serving until last_sent so.

    Args:
        services: names that may be asked for; all of them serve, or none does.

    Attributes:
        watchers: how many hear of changes.
    """

    def __init__(self, *services: str) -> None:
        self._services: Final = frozenset({"", *services})
        self._serving = False
        self._changed = asyncio.Event()
        self.watchers = 0

    def say(self, *, serving: bool) -> None:
        """Tell everybody who asks, and everybody who watches."""
        self._serving = serving
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(self, request: Any, _: Any) -> Any:  # noqa: N802
        """The status now.

        Raises:
            ServiceNotFound: the name is no service's.
        """
        if request.service not in self._services:
            raise ServiceNotFound(f"no service '{request.service}'")
        return _Status(status=self._status_of(request.service))

    async def Watch(self, request: Any, _: Any) -> AsyncGenerator[Any, None]:  # noqa: N802
        """The status now and whenever it changes, until the caller leaves."""
        last_sent = None
        self.watchers += 1
        try:
            while True:
                changed, status = self._changed, self._status_of(request.service)
                if status != last_sent:
                    yield _Status(status=status)
                    last_sent = status
                await changed.wait()
        finally:
            self.watchers -= 1

    def _status_of(self, service: str) -> int:
        status: int = _Status.SERVICE_UNKNOWN
        if service in self._services:
            status = _Status.SERVING if self._serving else _Status.NOT_SERVING
        return status
