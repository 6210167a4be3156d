"""What a failed call says: a status, as the error that the server raised."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import grpc

from penstock.errors import (
    Cancelled,
    Code,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    PenstockError,
    Unimplemented,
)

_PUSHBACK: Final = "grpc-retry-pushback-ms"
_NEVER: Final = -1


class CallFailed(PenstockError):
    """The server answered with a status that has no class of its own.

    Attributes:
        code: the status.
    """

    def __init__(self, message: str, code: Code) -> None:
        super().__init__(message)
        self.code = code


class Unavailable(PenstockError):
    """The request was not taken: no gateway, no ready worker, a full queue. Later it may be."""

    code = Code.UNAVAILABLE


class Unreachable(Unavailable):
    """Nothing answers at the address, or what is there does not let the client in."""

    def because(self, why: str | None) -> "Unreachable":
        """The same, with the reason, if it is known."""
        return self if why is None else Unreachable(f"no gateway answers: {why}")


_UNREACHABLE: Final = (
    "connections to all backends failing",
    "failed to connect to all addresses",
    "DNS resolution failed",
    "errors resolving ",
)

_DRAINING: Final = "backend unhealthy"
"""How gRPC ends the text of a call that it kept back: each gateway said that it is about to go."""

_CLASSES: Final[dict[Code, type[PenstockError]]] = {
    Code.INVALID_ARGUMENT: InvalidRequest,
    Code.NOT_FOUND: ModelNotFound,
    Code.UNAVAILABLE: Unavailable,
    Code.UNIMPLEMENTED: Unimplemented,
    Code.DEADLINE_EXCEEDED: DeadlineExceeded,
    Code.CANCELLED: Cancelled,
}


# A stopping gRPC server says so of calls that were on their way to it, and says no more. What is
# cancelled on this side has a text of its own ("Locally cancelled ...", "Channel closed!").
_TURNED_AWAY: Final = (Code.CANCELLED, ("", "CANCELLED"))
_STOPPED: Final = "the gateway stopped before it took the request"
_LEAVING: Final = "the gateway is shutting down, and there is no other; try again later"
_ASK_AGAIN_MS: Final = 100


@dataclass(frozen=True, slots=True)
class Failure:
    """The status of a failed call.

    Attributes:
        pushback_ms: the server's word on when to come back; negative for never, None for none.
    """

    code: Code
    text: str
    pushback_ms: int | None = None

    @classmethod
    def of(cls, error: grpc.RpcError) -> "Failure":
        """The status that grpc raised as *error*."""
        if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
            return cls(Code.UNKNOWN, str(error))
        code, text = Code(error.code().value[0]), error.details() or ""
        if code is _TURNED_AWAY[0] and text in _TURNED_AWAY[1]:
            return cls(Code.UNAVAILABLE, _STOPPED)
        if nobody_answers(text) and text.endswith(_DRAINING):
            return cls(Code.UNAVAILABLE, _LEAVING, _ASK_AGAIN_MS)
        return cls(code, text, _pushback_ms(error.trailing_metadata() or ()))

    @property
    def not_taken(self) -> bool:
        """Whether it is certain that the request was not begun: the server says so, or got none."""
        asks_to_wait = self.pushback_ms is not None
        return asks_to_wait or self.text == _STOPPED or self.text.startswith(_UNREACHABLE)

    def error(self, detail: str = "") -> PenstockError:
        """The same as an error to raise; *detail* goes behind its text."""
        kind = _CLASSES.get(self.code)
        if kind is None:
            return CallFailed((self.text or self.code.name) + detail, self.code)
        if kind is Unavailable and nobody_answers(self.text):
            why = self.text.rpartition("last error: ")[2]
            return Unreachable(f"no gateway answers: {why}{detail}")
        error = kind((self.text or self.code.name) + detail)
        if self.pushback_ms is not None and self.pushback_ms >= 0:
            error.retry_after_ms = self.pushback_ms
        return error


def nobody_answers(text: str) -> bool:
    """Whether an UNAVAILABLE with this *text* is gRPC's own, since nothing answers at the address.

    A gateway's has other words, in which connections may occur as well: Redis may be away.
    """
    return text.startswith(_UNREACHABLE)


def _pushback_ms(trailers: Iterable[tuple[str, str | bytes]]) -> int | None:
    for key, value in trailers:
        if key == _PUSHBACK:
            try:
                return int(value)
            except ValueError:
                return _NEVER
    return None
