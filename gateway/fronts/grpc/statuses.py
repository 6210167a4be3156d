"""What a failed call's client is told, as gRPC has it: status, text, and when to come back."""

from penstock.gateway.failures import failure_of
from penstock.gateway.fronts.grpc.rpc import Rpc
from penstock.retry import scattered_ms

_PUSHBACK = "grpc-retry-pushback-ms"


def end_with(rpc: Rpc, error: Exception) -> None:
    """End the RPC with the status of *error*, as soon as its handler returns."""
    code, text, retry_after_ms = failure_of(error, rpc.call.caller)
    trailing: tuple[tuple[str, str], ...] = ()
    if retry_after_ms is not None:
        # Those who are refused together shall not come back together.
        trailing = ((_PUSHBACK, str(scattered_ms(retry_after_ms))),)
    rpc.fail(int(code), text, trailing)
