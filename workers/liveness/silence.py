"""Silence: how long something has given no sign of life. Pure but for the time that it is given."""

from typing import Final

_UNHEARD: Final = object()


class Silence:
    """Counts only time in which the one who listens was running as well.

    A machine that sleeps, or a process that is stopped and goes on, stops both: nothing is taken
    for silent because nobody listened.
    """

    def __init__(self, *, most_step_s: float) -> None:
        """*most_step_s*: what two looks in a row may add; longer, and the listener was away."""
        self._most_step_s = most_step_s
        self._sign: object = _UNHEARD
        self._looked_s = 0.0
        self._silent_s = 0.0

    def seconds(self, sign: object, now_s: float) -> float:
        """For how long *sign* has been the same object; it is another with each sign of life."""
        if sign is not self._sign:
            self._sign, self._silent_s = sign, 0.0
        else:
            self._silent_s += min(now_s - self._looked_s, self._most_step_s)
        self._looked_s = now_s
        return self._silent_s
