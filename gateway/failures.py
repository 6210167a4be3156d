"""What clients are told of an error: the one table, whichever protocol they speak.

Each front has a mapping from these codes to what its protocol calls them.
"""

import uuid
from typing import Final, NamedTuple

import structlog

from penstock.errors import Code, PenstockError, StoreRefused, forget_frames
from penstock.gateway.access.caller import Caller

log = structlog.get_logger()

LONGEST_TEXT: Final = 2048
"""Characters of a failure's text: gRPC's clients take no more than 8 KiB of metadata by default."""


class Failure(NamedTuple):
    """What a client is told of an error.

    Attributes:
        retry_after_ms: when a retry makes sense, None when it does not.
    """

    code: Code
    text: str
    retry_after_ms: int | None = None


def failure_of(error: Exception, caller: Caller) -> Failure:
    """What *caller* is told of *error*, which forgets how it came about.

    An error that nobody foresaw leaves as an id; its text stays in the log.
    """
    try:
        if isinstance(error, StoreRefused):
            log.error("the queue refused a command", error=str(error), **caller.fields)
            return Failure(Code.UNAVAILABLE, "the queue failed; try again later")
        if isinstance(error, PenstockError):
            return Failure(error.code, _shortened(str(error)), error.retry_after_ms)
        incident = uuid.uuid4().hex[:12]
        log.error("unexpected error", incident=incident, exc_info=error, **caller.fields)
        return Failure(Code.INTERNAL, f"internal error {incident}")
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
