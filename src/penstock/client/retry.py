"""When a call is repeated, and after how long. Pure: a decision, no waiting.

Only UNAVAILABLE is repeated: the gateway says that it did not take the request, or it stopped, or
the connection broke. A request of a sequence is repeated only where it is certain that it was not
taken: done twice, it would count twice. The server's word on the delay (``grpc-retry-pushback-ms``)
counts as in gRPC's proposal A6: negative or unreadable means never. A deadline that has passed is
an answer, not a failure of the transport. Each repetition is counted, whoever asked for it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from penstock.client.failures import Failure
from penstock.clock import Clock, Deadline, monotonic
from penstock.errors import Code, DeadlineExceeded
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.retry import Backoff, RetryBudget


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently.

    Attributes:
        attempts: calls in all, not counting those that the server asked to repeat; 1 never
            repeats the others.
        first_delay_s: upper bound of the first delay, which doubles with each call.
        longest_delay_s: where it stops doubling.
        fraction: draws from 0 to 1; delays are random so that clients do not come back together.
        calls: in all, those that the server asked to repeat among them; at least *attempts*.
    """

    attempts: int = 10
    first_delay_s: float = 0.1
    longest_delay_s: float = 4.0
    fraction: Callable[[], float] = field(default=random.random)  # not for secrets
    calls: int = 40


class Attempts:
    """The calls that are made for one request."""

    def __init__(
        self,
        policy: RetryPolicy,
        budget: RetryBudget,
        deadline: Deadline,
        *,
        once: bool = False,
        clock: Clock = monotonic,
    ) -> None:
        """*budget*: of the client. *once*: the call must not be done twice."""
        self._policy, self._budget, self._deadline = policy, budget, deadline
        self._once, self._clock = once, clock
        self._backoff = Backoff(policy.first_delay_s, policy.longest_delay_s, policy.fraction)
        self._made = self._failed = 0

    def timeout_s(self) -> float:
        """How long the next call may take.

        Raises:
            DeadlineExceeded: there is no time left for one.
        """
        remaining_s = self._deadline.remaining_s(self._clock)
        if remaining_s <= 0:
            raise DeadlineExceeded("Deadline Exceeded")
        return remaining_s

    def succeeded(self) -> None:
        """The call was answered."""
        self._budget.succeeded()

    def delay_s(self, failure: Failure) -> float:
        """Seconds to wait before the next call, after one that failed.

        Raises:
            PenstockError: there shall be none; what it failed with, and after how many calls.
        """
        self._made += 1
        self._failed += failure.pushback_ms is None
        if not self._is_repeatable(failure):
            self._end(failure, "")
        self._budget.failed()
        policy = self._policy
        if self._failed >= policy.attempts and failure.pushback_ms is None:
            self._end(failure, "which are as many as the client's retry policy makes")
        if self._made >= max(policy.calls, policy.attempts):
            self._end(failure, "which are as many as the client's retry policy makes in all")
        delay_s = self._next_s(failure.pushback_ms)
        if delay_s >= self._deadline.remaining_s(self._clock):
            self._end(failure, "since the next one would come after the deadline")
        return delay_s

    def _is_repeatable(self, failure: Failure) -> bool:
        if failure.code is not Code.UNAVAILABLE or (self._once and not failure.not_taken):
            return False
        return failure.pushback_ms is None or failure.pushback_ms >= 0

    def _next_s(self, pushback_ms: int | None) -> float:
        policy = self._policy
        if self._budget.spent:
            # Too much of what this client sends fails: it comes again as seldom as it may.
            delay_s = policy.longest_delay_s * (0.5 + policy.fraction() / 2)
        elif pushback_ms is not None and self._made == 1:
            # At once is where another server may be asked.
            delay_s = policy.first_delay_s / 10 * policy.fraction()
        else:
            delay_s = self._backoff.delay_s(self._made)
        return delay_s if pushback_ms is None else pushback_ms / 1000 + delay_s

    def _end(self, failure: Failure, why: str) -> NoReturn:
        several = f" ({self._made} attempts, {why})" if why and self._made > 1 else ""
        raise failure.error(several)


class Attempting:
    """What the calls of one client have in common: deadline, policy, and budget."""

    def __init__(self, deadline_s: float, policy: RetryPolicy | None) -> None:
        """*deadline_s*: of requests without one of their own; *policy*: None for the default."""
        self._deadline_s = deadline_s
        self._policy = policy or RetryPolicy()
        self._budget = RetryBudget()

    def of(self, request: Any, deadline_s: float | None) -> Attempts:
        """The calls for *request*, within *deadline_s*."""
        deadline = Deadline.after(self._deadline_s if deadline_s is None else deadline_s)
        # One of a sequence changes what later ones get.
        once = isinstance(request, ModelInferRequest) and "sequence_id" in request.parameters
        return Attempts(self._policy, self._budget, deadline, once=once)
