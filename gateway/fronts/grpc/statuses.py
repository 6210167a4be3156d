"""The one table that turns errors into gRPC's statuses."""

import uuid
from typing import Any, Final, NamedTuple

import grpc
import structlog

from penstock.errors import Code, PenstockError, StoreRefused, forget_frames
from penstock.retry import scattered_ms

log = structlog.get_logger()

_BY_NUMBER = {status.value[0]: status for status in grpc.StatusCode}
_PUSHBACK = "grpc-retry-pushback-ms"

LONGEST_TEXT: Final = 2048
"""Characters of a status's text: clients take no more than 8 KiB of metadata by default."""

Context = grpc.aio.ServicerContext[Any, Any]


class Told(NamedTuple):
    """What a client is told of an error."""

    code: Code
    text: str
    retry_after_ms: int | None = None


def end_with(context: Context, error: Exception) -> None:
    """End the RPC with the status of *error*, as soon as its handler returns.

    Not by `context.abort`: that raises an error which gRPC keeps, and with it the frames that it
    came through, in a circle that only a full garbage collection breaks; a request's payload is
    among what they hold.
    """
    code, text, retry_after_ms = told(error)
    trailing: tuple[tuple[str, str], ...] = ()
    if retry_after_ms is not None:
        # Those who are refused together shall not come back together.
        trailing = ((_PUSHBACK, str(scattered_ms(retry_after_ms))),)
    context.set_trailing_metadata(trailing)
    context.set_details(text)
    context.set_code(_BY_NUMBER[int(code)])


def told(error: Exception) -> Told:
    """The status of *error*, which forgets how it came about.

    An error that nobody foresaw leaves as an id; its text stays in the log.
    """
    try:
        if isinstance(error, StoreRefused):
            log.error("the queue refused a command", error=str(error))
            return Told(Code.UNAVAILABLE, "the queue failed; try again later")
        if isinstance(error, PenstockError):
            return Told(error.code, _shortened(str(error)), error.retry_after_ms)
        incident = uuid.uuid4().hex[:12]
        log.error("unexpected error", incident=incident, exc_info=error)
        return Told(Code.INTERNAL, f"internal error {incident}")
    finally:
        forget_frames(error)


def _shortened(text: str) -> str:
    """*text*, which may repeat whatever a client has sent, as long as clients can read it."""
    # On the wire, each byte of another character than ASCII's takes three.
    most = LONGEST_TEXT if text.isascii() else LONGEST_TEXT // 4
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} ... ({len(text) - 2 * half} characters) ... {text[-half:]}"
