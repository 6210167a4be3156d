"""The one table that turns errors into gRPC's statuses."""

import uuid
from typing import Any, NoReturn

import grpc
import structlog

from penstock.errors import PenstockError, StoreRefused

log = structlog.get_logger()

_BY_NUMBER = {status.value[0]: status for status in grpc.StatusCode}
_PUSHBACK = "grpc-retry-pushback-ms"

Context = grpc.aio.ServicerContext[Any, Any]


async def abort(context: Context, error: Exception) -> NoReturn:
    """End the RPC with the status of *error*.

    An error that nobody foresaw leaves as an id; its text stays in the log.
    """
    if isinstance(error, StoreRefused):
        log.error("the queue refused a command", error=str(error))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the queue failed; try again later")
    if isinstance(error, PenstockError):
        trailing: tuple[tuple[str, str], ...] = ()
        if error.retry_after_ms is not None:
            trailing = ((_PUSHBACK, str(error.retry_after_ms)),)
        await context.abort(_BY_NUMBER[int(error.code)], str(error), trailing)
    incident = uuid.uuid4().hex[:12]
    log.error("unexpected error", incident=incident, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, f"internal error {incident}")
    raise AssertionError("abort raises")
