"""When a call is repeated, and after how long. Pure: a decision, no waiting.

Only UNAVAILABLE is repeated: the gateway says that it did not take the request, or it stopped, or
the connection broke. A request of a sequence is repeated only where it is certain that it was not
taken: done twice, it would count twice. The server's word on the
delay (``grpc-retry-pushback-ms``) counts as in gRPC's proposal A6: negative or unreadable means
never. A deadline that has passed is an answer, not a failure of the transport.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from penstock.client.failures import Failure
from penstock.clock import Clock, Deadline, monotonic
from penstock.errors import Code
from penstock.protos.grpc_service_pb2 import ModelInferRequest


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently.

    Attributes:
        attempts: calls in all, not counting those that the server asked to repeat; 1 never
            repeats the others.
        first_delay_s: upper bound of the first delay, which doubles with each attempt.
        longest_delay_s: where it stops doubling.
        fraction: draws from 0 to 1; delays are random so that clients do not come back together.
    """

    attempts: int = 8
    first_delay_s: float = 0.1
    longest_delay_s: float = 2.0
    fraction: Callable[[], float] = field(default=random.random)  # not for secrets

    def delay_s(
        self,
        failure: Failure,
        attempt: int,
        deadline: Deadline,
        clock: Clock = monotonic,
        *,
        once: bool = False,
    ) -> float | None:
        """Seconds to wait before the next attempt, None when there shall be none.

        Args:
            attempt: how many there were, but for those that the server asked to repeat.
            once: the call must not be done twice (`counts_once`).
        """
        if failure.code is not Code.UNAVAILABLE or (once and not failure.not_taken):
            return None
        # A server that says when to come back has not begun: that is no failed attempt.
        if failure.pushback_ms is None and attempt >= self.attempts:
            return None
        if failure.pushback_ms is None:
            bound_s = min(self.longest_delay_s, self.first_delay_s * 2 ** (attempt - 1))
            delay_s = bound_s * (0.5 + self.fraction() / 2)
        elif failure.pushback_ms >= 0:
            # At once is where another server may be asked; all of them, though, not in a circle.
            delay_s = max(failure.pushback_ms / 1000, self.first_delay_s / 10)
        else:
            return None
        return delay_s if delay_s < deadline.remaining_s(clock) else None


def counts_once(request: Any) -> bool:
    """Whether *request*, any of the protocol's, changes what later ones get: one of a sequence."""
    return isinstance(request, ModelInferRequest) and "sequence_id" in request.parameters
