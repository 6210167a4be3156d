"""Time, passed in rather than read: a clock, and the deadlines that travel with requests."""

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

Clock = Callable[[], float]
"""Seconds from an arbitrary start, never going back."""

monotonic: Clock = time.monotonic

LONGEST_MS: Final = 30 * 24 * 3600 * 1000
"""Nothing is waited for longer than thirty days.

Whoever wants no deadline asks for years; a number of milliseconds has 32 bits on some of its ways,
which are 49 days.
"""

AT_THE_END_S: Final = 0.05
"""A client's own deadline reaches its server as the client's going away, so much earlier."""


def bounded_ms(seconds: float) -> int:
    """*seconds* as whole milliseconds, from 1 to `LONGEST_MS`."""
    return max(1, int(min(seconds * 1000, LONGEST_MS)))


def bounded_ms_of_us(microseconds: int) -> int:
    """*microseconds* as milliseconds, rounded up, and at most `LONGEST_MS`."""
    return min(-(-microseconds // 1000), LONGEST_MS)


class Deadline(NamedTuple):
    """The moment after which an answer is worth nothing.

    Attributes:
        at_s: on the process's monotonic clock.
    """

    at_s: float

    @classmethod
    def after(cls, seconds: float, clock: Clock = monotonic) -> "Deadline":
        """The deadline that is *seconds* from now, or `LONGEST_MS` if they are more."""
        return cls(clock() + min(seconds, LONGEST_MS / 1000))

    def remaining_s(self, clock: Clock = monotonic) -> float:
        """Seconds left; negative once it has passed."""
        return self.at_s - clock()

    def passed(self, clock: Clock = monotonic) -> bool:
        """Whether nothing is left."""
        return self.at_s <= clock()


NO_DEADLINE: Final = Deadline(math.inf)
"""Of whoever has not said how long an answer is wanted."""
