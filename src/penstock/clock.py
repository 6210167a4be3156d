"""Time, passed in rather than read: a clock, and the deadlines that travel with requests."""

import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
"""Seconds from an arbitrary start, never going back."""

monotonic: Clock = time.monotonic


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment after which an answer is worth nothing.

    Attributes:
        at_s: on the process's monotonic clock.
    """

    at_s: float

    @classmethod
    def after(cls, seconds: float, clock: Clock = monotonic) -> "Deadline":
        """The deadline that is *seconds* from now."""
        return cls(clock() + seconds)

    def remaining_s(self, clock: Clock = monotonic) -> float:
        """Seconds left; negative once it has passed."""
        return self.at_s - clock()

    def passed(self, clock: Clock = monotonic) -> bool:
        """Whether nothing is left."""
        return self.at_s <= clock()
