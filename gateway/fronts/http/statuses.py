"""What a failed request's client is told, as HTTP has it: status, text, and when to come back.

Triton's codes have the statuses that its HTTP server gives them; gRPC's others have the nearest.
"""

import json
from typing import Final

from penstock.errors import Code, PenstockError
from penstock.gateway.access.caller import Caller
from penstock.gateway.failures import Failure, failure_of
from penstock.gateway.fronts.compression import TooLarge
from penstock.retry import scattered_ms

STATUSES: Final = {
    Code.OK: 200,
    Code.CANCELLED: 400,
    Code.UNKNOWN: 400,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 400,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

Header = tuple[bytes, bytes]


class Refused(PenstockError):
    """HTTP has a status of its own for this, which is no failure of a request for inference.

    Attributes:
        status: of HTTP.
    """

    code = Code.INVALID_ARGUMENT

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def error_json(text: str) -> bytes:
    """The body of a refusal, as clients of Triton read it."""
    return json.dumps({"error": text}).encode()


def refusal_of(error: Exception, caller: Caller) -> tuple[int, list[Header], bytes]:
    """Status, headers and body for whoever asked."""
    status, headers, failure = refused(error, caller)
    return status, headers, error_json(failure.text)


def refused(error: Exception, caller: Caller) -> tuple[int, list[Header], Failure]:
    """Status and headers for whoever asked, and what they are told."""
    own = error.status if isinstance(error, Refused) else None
    if isinstance(error, TooLarge):
        own = 413
    failure = failure_of(error, caller)
    code, _, retry_after_ms = failure
    headers = []
    if code is Code.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))
    if retry_after_ms is not None:
        # Those who are refused together shall not come back together; it has whole seconds.
        seconds = -(-scattered_ms(retry_after_ms) // 1000)
        headers.append((b"retry-after", b"%d" % seconds))
    return own or STATUSES[code], headers, failure
