"""Busyness: whether the event loop still finds time to sleep between requests.

A lone caller's request lets it sleep three times: for the request, for the answer, for what comes
next. A gateway that sleeps less than every other time has more to do than it can; whatever waits
there for company then costs nobody any time. Linux counts the sleeps of a thread.
"""

import resource
from collections.abc import Callable
from typing import Final

Sleeps = Callable[[], int]

_WINDOW: Final = 32
"""Requests after which it is looked at anew."""

_SLEEPS: Final = 0.5
"""Per request, of a loop that is not busy."""


def sleeps_of_this_thread() -> int:
    """How often it has waited for something so far; 0 where the system does not say."""
    who = getattr(resource, "RUSAGE_THREAD", None)
    return 0 if who is None else resource.getrusage(who).ru_nvcsw


class Busyness:
    """Of the thread that calls it.

    Attributes:
        busy: whether it had no time to sleep lately.
    """

    def __init__(self, sleeps: Sleeps = sleeps_of_this_thread) -> None:
        self._sleeps = sleeps
        self._requests = 0
        self._slept = sleeps()
        self.busy = False

    def count(self) -> None:
        """One more request."""
        self._requests += 1
        if self._requests == _WINDOW:
            slept = self._sleeps()
            # Where nothing is counted, nobody ever slept.
            self.busy = slept > 0 and slept - self._slept < _SLEEPS * _WINDOW
            self._requests, self._slept = 0, slept
