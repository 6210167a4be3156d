"""What a failed call's client is told, as gRPC has it: status, text, and when to come back."""

from typing import Any

import grpc

from penstock.gateway.failures import failure_of
from penstock.retry import scattered_ms

_BY_NUMBER = {status.value[0]: status for status in grpc.StatusCode}
_PUSHBACK = "grpc-retry-pushback-ms"

Context = grpc.aio.ServicerContext[Any, Any]


def end_with(context: Context, error: Exception) -> None:
    """End the RPC with the status of *error*, as soon as its handler returns.

    Not by `context.abort`: that raises an error which gRPC keeps, and with it the frames that it
    came through, in a circle that only a full garbage collection breaks; a request's payload is
    among what they hold.
    """
    code, text, retry_after_ms = failure_of(error)
    trailing: tuple[tuple[str, str], ...] = ()
    if retry_after_ms is not None:
        # Those who are refused together shall not come back together.
        trailing = ((_PUSHBACK, str(scattered_ms(retry_after_ms))),)
    context.set_trailing_metadata(trailing)
    context.set_details(text)
    context.set_code(_BY_NUMBER[int(code)])
