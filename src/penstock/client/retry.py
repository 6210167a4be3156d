"""When a call is repeated, and after how long. Pure: a decision, no waiting.

Only calls that are safe to repeat come here, and only UNAVAILABLE is repeated: the gateway says
that it did not take the request, or it stopped, or the connection broke. The server's word on the
delay (``grpc-retry-pushback-ms``) counts as in gRPC's proposal A6: negative or unreadable means
never. A deadline that has passed is an answer, not a failure of the transport.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.client.failures import Failure
from penstock.clock import Clock, Deadline, monotonic
from penstock.errors import Code


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
        self, failure: Failure, attempt: int, deadline: Deadline, clock: Clock = monotonic
    ) -> float | None:
        """Seconds to wait before attempt *attempt* + 1, None when there shall be none."""
        if failure.code is not Code.UNAVAILABLE:
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
