"""When each request is to be looked at: a look costs what is due, however many requests wait."""

from typing import Final

from penstock.gateway.delivery.waiting import Pending

STEP_S: Final = 0.25


class DueTimes:
    """Requests, together with those that are due within the same step of `STEP_S`."""

    def __init__(self) -> None:
        self._steps: dict[int, dict[Pending, None]] = {}

    def put(self, pending: Pending, due_s: float) -> None:
        """Have *pending* looked at in the step of *due_s*, seconds on the gateway's clock."""
        pending.due = step = int(due_s / STEP_S)
        due = self._steps.get(step)
        if due is None:
            due = self._steps[step] = {}
        due[pending] = None

    def remove(self, pending: Pending) -> None:
        """Have it looked at no more."""
        due = self._steps.get(pending.due)
        if due is not None:
            due.pop(pending, None)
            if not due:
                del self._steps[pending.due]

    def take(self, now_s: float) -> list[Pending]:
        """Those whose step has come; each is put again, or looked at no more."""
        last = int(now_s / STEP_S)
        # All are due within a second or so: there is a handful of steps.
        steps = sorted(step for step in self._steps if step <= last)
        return [pending for step in steps for pending in self._steps.pop(step)]
