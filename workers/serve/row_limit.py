"""Row limit: how many rows share a run where nobody has said how many may. Pure.

A row costs memory that cannot be foreseen, so there are few at first. There are twice as many each
time that full batches keep coming, as long as a row then takes clearly less time, and there is
memory for it.
"""

import statistics
from collections.abc import Callable
from typing import Final

from penstock.models.batch_guess import FIRST_MAX_BATCH

_COLD: Final = 2
"""Batches of a new size that are not measured: memory is allocated, kernels are chosen."""

_MEASURED: Final = 8
"""Full batches that are compared with those of half the size."""

_WORTH: Final = 0.9
"""Of the time for a row that a row may take in batches of twice the size."""

_RETRY_AFTER: Final = 5000
"""Full batches until it is tried again whether more rows pay: others may have been busy."""


class RowLimit:
    """The most rows of different requests in one run.

    Attributes:
        rows: at present; never more than *most*.
    """

    def __init__(self, most: int, first: int = FIRST_MAX_BATCH) -> None:
        self.rows = min(first, most)
        self._most = most
        self._row_s: list[float] = []
        self._cold = _COLD
        self._half_s: float | None = None
        self._rests = 0

    def __repr__(self) -> str:
        return f"RowLimit({self.rows} of {self._most})"

    def observe(self, rows: int, took_s: float, has_room: Callable[[], bool]) -> bool:
        """A batch of *rows* rows ran for *took_s* seconds; returns whether the limit changed.

        Args:
            has_room: whether there is memory for batches twice as large.
        """
        if not 3 * self.rows < 4 * rows <= 4 * self.rows:
            return False
        if self._cold or self._rests:
            self._cold, self._rests = max(0, self._cold - 1), max(0, self._rests - 1)
            return False
        self._row_s.append(took_s / rows)
        if len(self._row_s) < _MEASURED:
            return False
        row_s = statistics.median(self._row_s)
        self._row_s.clear()
        return self._decide(row_s, has_room)

    def _decide(self, row_s: float, has_room: Callable[[], bool]) -> bool:
        pays = self._half_s is None or row_s <= _WORTH * self._half_s
        if not pays:
            self._become(self.rows // 2, None)
            self._rests = _RETRY_AFTER
            return True
        if 2 * self.rows > self._most or not has_room():
            self._rests = _RETRY_AFTER
            return False
        self._become(2 * self.rows, row_s)
        return True

    def _become(self, rows: int, half_s: float | None) -> None:
        self.rows, self._half_s, self._cold = rows, half_s, _COLD
