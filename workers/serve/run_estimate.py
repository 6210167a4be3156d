"""How long a batch will take, by its bytes, and whether it may run on the event loop.

On the loop runs only what is known to be short: a shard whose work follows from its inputs' shapes,
on shapes that are fixed, or that were run before. All else has the device's thread, where a batch
that takes longer than was thought holds up nobody (ADR 0023).
"""

from collections.abc import Hashable, Sequence
from typing import Final

from penstock.workers.run.work import Work

SHORT_S: Final = 0.001
"""The way to the device's thread and back would take longer than such a batch."""

_MOST_SHAPES: Final = 1024
"""That are remembered, the latest; a batch of another one merely has the device's thread."""

_SLOWER, _FASTER = 0.2, 0.5
"""How much of the latest batch's time is believed: what disturbs a run makes it longer.

A shard's first runs are its longest, and must not count as its pace for the next dozen.
"""


class RunEstimate:
    """What is known of one shard's batches.

    A batch's size is that of its inputs in bytes: a request for a wide image is one row, too.

    Attributes:
        inline: whether any of them may run on the event loop.
        fixed: each row of a batch is as large as any other.
    """

    def __init__(self, *, inline: bool, fixed: bool, lead_s: float = 0.003) -> None:
        """*lead_s*: how long before a batch's end to claim; shorter ones are not worth it."""
        self.inline = inline
        self.fixed = fixed
        self._lead_s = lead_s
        self._per_byte_s: float | None = None
        self._row_size = 1.0
        self._seen: dict[Hashable, float] = {}

    def size_of(self, batch: Sequence[Work], rows: int) -> int:
        """By what the batch is estimated: its bytes, or its rows where all are equally large."""
        return rows if self.fixed else sum([work.size for work in batch])

    def is_short(self, batch: Sequence[Work], size: int) -> bool:
        """Whether *batch*, of that size, is known to be done at once."""
        if not self.inline:
            return False
        expected_s = self.expected_s(size) if self.fixed else self._seen.get(_shape_of(batch, size))
        return expected_s is not None and expected_s < SHORT_S

    def expected_s(self, size: int) -> float | None:
        """How long a batch of that size will take; None while nothing is known."""
        return None if self._per_byte_s is None else self._per_byte_s * max(1, size)

    def claim_after_s(self, size: int) -> float | None:
        """Seconds from the start of a batch until the next should be claimed; None: at its end.

        Claiming earlier would keep jobs from idle replicas, claiming later would let the device
        wait.
        """
        expected_s = self.expected_s(size)
        if expected_s is None or expected_s <= self._lead_s:
            return None
        return expected_s - self._lead_s

    def observe(self, batch: Sequence[Work], rows: int, size: int, took_s: float) -> None:
        """*batch* ran for *took_s* seconds."""
        measured = took_s / max(1, size)
        if self._per_byte_s is None:
            self._per_byte_s = measured
        weight = _SLOWER if measured > self._per_byte_s else _FASTER
        self._per_byte_s += weight * (measured - self._per_byte_s)
        if self.fixed:
            return
        self._row_size = max(1, size) / max(1, rows)
        if self.inline:
            shape = _shape_of(batch, size)
            if shape not in self._seen and len(self._seen) >= _MOST_SHAPES:
                del self._seen[next(iter(self._seen))]
            self._seen[shape] = took_s

    def rows_within(self, seconds: float) -> int:
        """How many rows like the latest will take no longer; 0 while nothing is known."""
        return int(seconds / self._per_byte_s / self._row_size) if self._per_byte_s else 0

    def without_long(self, works: Sequence[Work], seconds: float) -> tuple[list[Work], list[Work]]:
        """*works* that will take no longer each, and those that are of an unusual size."""
        fit: list[Work] = []
        long: list[Work] = []
        for work in works:
            expected_s = None if self.fixed else self.expected_s(work.size)
            (fit if expected_s is None or expected_s <= seconds else long).append(work)
        return fit, long


def _shape_of(batch: Sequence[Work], size: int) -> Hashable:
    return batch[0].shape_key, size, len(batch)
