"""How patiently something is tried again: back-off, a budget, and what a server asks for. Pure.

One policy for all (ADR 0028): delays grow with each try and are drawn at random, so that those who
were refused together do not come back together; whoever fails often slows all of its tries down.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from penstock.clock import Clock, monotonic

Fraction = Callable[[], float]
"""Draws from 0 to 1."""

_LAST_DOUBLING: Final = 30


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that grow up to a bound.

    Attributes:
        first_s: upper bound of the first delay; each next one may be twice as long.
        most_s: where they stop growing.
        fraction: not for secrets.
    """

    first_s: float
    most_s: float
    fraction: Fraction = field(default=random.random)

    def bound_s(self, attempt: int) -> float:
        """The longest delay after so many tries, from 1."""
        return min(self.most_s, self.first_s * 2.0 ** min(attempt - 1, _LAST_DOUBLING))

    def delay_s(self, attempt: int) -> float:
        """Seconds to wait after so many tries: anything up to the bound."""
        return self.bound_s(attempt) * self.fraction()


class RetryBudget:
    """How much of what is sent may be sent again, as in gRPC's retryThrottling (proposal A6).

    A failure takes a token, a success gives back a part of one; it is spent while half of the
    tokens or fewer are left. One for all calls of a client.
    """

    def __init__(self, tokens: float = 100.0, ratio: float = 0.1) -> None:
        """*ratio*: of a token, for each success."""
        self._most = self._tokens = tokens
        self._ratio = ratio

    def __repr__(self) -> str:
        return f"RetryBudget({self._tokens:g} of {self._most:g})"

    @property
    def spent(self) -> bool:
        """Whether what fails shall come again as seldom as it may."""
        return self._tokens <= self._most / 2

    def failed(self) -> None:
        """A call failed in a way that calls for another try."""
        self._tokens = max(0.0, self._tokens - 1)

    def succeeded(self) -> None:
        """A call was answered."""
        if self._tokens < self._most:
            self._tokens = min(self._most, self._tokens + self._ratio)


class Pushback:
    """When those come back whom a server refuses: later, the longer it has had to refuse some."""

    _STEP_S, _CALM_S = 1.0, 3.0

    def __init__(self, least_ms: int, most_ms: int, clock: Clock = monotonic) -> None:
        """From *least_ms* to *most_ms*, twice as long with each second of refusals."""
        self._least_ms, self._most_ms = least_ms, most_ms
        self._clock = clock
        self._level_ms = least_ms
        self._last_s = self._raised_s = -self._CALM_S

    def next_ms(self) -> int:
        """For the one that is refused now; whoever tells it scatters it (`scattered_ms`)."""
        now_s = self._clock()
        if now_s - self._last_s >= self._CALM_S:
            self._level_ms, self._raised_s = self._least_ms, now_s
        elif now_s - self._raised_s >= self._STEP_S:
            self._level_ms, self._raised_s = min(self._most_ms, 2 * self._level_ms), now_s
        self._last_s = now_s
        return self._level_ms


def scattered_ms(least_ms: float, fraction: Fraction = random.random) -> int:
    """*least_ms*, or up to half as much again: not the same for all who are told."""
    return int(least_ms * (1 + fraction() / 2))
