"""The one table that turns errors into gRPC's statuses."""

import uuid
from typing import Any, NamedTuple, NoReturn

import grpc
import structlog

from penstock.errors import Code, PenstockError, StoreRefused

log = structlog.get_logger()

_BY_NUMBER = {status.value[0]: status for status in grpc.StatusCode}
_PUSHBACK = "grpc-retry-pushback-ms"

Context = grpc.aio.ServicerContext[Any, Any]


class Told(NamedTuple):
    """What a client is told of an error."""

    code: Code
    text: str
    retry_after_ms: int | None = None


async def abort(context: Context, error: Exception) -> NoReturn:
    """End the RPC with the status of *error*."""
    code, text, retry_after_ms = told(error)
    trailing: tuple[tuple[str, str], ...] = ()
    if retry_after_ms is not None:
        trailing = ((_PUSHBACK, str(retry_after_ms)),)
    await context.abort(_BY_NUMBER[int(code)], text, trailing)
    raise AssertionError("abort raises")


def told(error: Exception) -> Told:
    """The status of *error*, which nobody looks into any more: it lets go of what it passed.

    An error that nobody foresaw leaves as an id; its text stays in the log.
    """
    said = _told(error)
    _let_go(error)
    return said


def _told(error: Exception) -> Told:
    if isinstance(error, StoreRefused):
        log.error("the queue refused a command", error=str(error))
        return Told(Code.UNAVAILABLE, "the queue failed; try again later")
    if isinstance(error, PenstockError):
        return Told(error.code, str(error), error.retry_after_ms)
    incident = uuid.uuid4().hex[:12]
    log.error("unexpected error", incident=incident, exc_info=error)
    return Told(Code.INTERNAL, f"internal error {incident}")


def _let_go(error: BaseException | None) -> None:
    """Forget where *error* and its causes came through.

    gRPC keeps the error that ends a call with the call, and futures keep theirs: cycles, which
    would hold the request's bytes until the collector comes round.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
