"""What runs next: pure decisions over what a worker has staged.

Requests are batched along dimension 0, and only with others whose inputs have the same names,
datatypes and remaining dimensions.
"""

import math
import statistics
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final, Protocol, TypeVar

from penstock.clock import LONGEST_MS
from penstock.models.batch_guess import FIRST_MAX_BATCH
from penstock.models.sequencing import slots_of_worker
from penstock.protos import model_config_pb2 as config_pb

_COLD: Final = 2
"""Batches of a new size that are not measured: memory is allocated, kernels are chosen."""

_MEASURED: Final = 8
"""Full batches that are compared with those of half the size."""

_WORTH: Final = 0.9
"""Of the time for a row that a row may take in batches of twice the size."""

_RETRY_AFTER: Final = 5000
"""Full batches until it is tried again whether more rows pay: others may have been busy."""


@dataclass(frozen=True, slots=True)
class BatchRules:
    """How a model's requests may be batched.

    Attributes:
        most_rows: in one run.
        together: whether different requests may share a run at all.
        enough_rows: worth waiting for, for at most batch_delay_us.
        preferred: sizes, the least first, at which a batch waits for no more; until the delay is
            over one has the largest of them that there are rows for.
    """

    most_rows: int = 1
    together: bool = False
    enough_rows: int = 1
    batch_delay_us: int = 0
    preferred: tuple[int, ...] = ()

    @classmethod
    def of(cls, config: config_pb.ModelConfig) -> "BatchRules":
        """What *config* asks for.

        As in Triton, requests share a run only where `dynamic_batching` is there, and a batch is
        held back for `max_queue_delay_microseconds` unless it has a preferred size.
        Requests to a decoupled model never share one: each has responses of its own.
        """
        if config.max_batch_size <= 0:
            return cls()
        most = config.max_batch_size
        if config.HasField("sequence_batching"):
            return cls._of_sequences(config)
        decoupled = config.model_transaction_policy.decoupled
        if decoupled or not config.HasField("dynamic_batching"):
            return cls(most_rows=most)
        return cls._preferring(most, most, config.dynamic_batching)

    @classmethod
    def _of_sequences(cls, config: config_pb.ModelConfig) -> "BatchRules":
        """Requests of different sequences share a run: of each, only one is there at a time."""
        most, batching = config.max_batch_size, config.sequence_batching
        if batching.HasField("oldest"):
            return cls._preferring(most, min(most, slots_of_worker(config)), batching.oldest)
        # As in Triton, the delay counts only where it is said how many slots are enough.
        direct, utilization = batching.direct, batching.direct.minimum_slot_utilization
        return cls(
            most_rows=most,
            together=True,
            enough_rows=max(1, math.ceil(utilization * most)),
            batch_delay_us=_delay_us(direct.max_queue_delay_microseconds) if utilization else 0,
        )

    @classmethod
    def _preferring(
        cls,
        most: int,
        candidates: int,
        batching: config_pb.ModelDynamicBatching | config_pb.ModelSequenceBatching.StrategyOldest,
    ) -> "BatchRules":
        """Runs of sizes that *batching* prefers, of so many *candidates* as there are at most."""
        preferred = tuple(sorted({min(size, candidates) for size in batching.preferred_batch_size}))
        return cls(
            most_rows=most,
            together=True,
            enough_rows=max(preferred, default=candidates),
            batch_delay_us=_delay_us(batching.max_queue_delay_microseconds),
            preferred=preferred,
        )


def _delay_us(asked_us: int) -> int:
    """A delay, as far as there are numbers for it."""
    return min(asked_us, LONGEST_MS * 1000)


class Candidate(Protocol):
    """What a decision needs to know of staged work."""

    @property
    def rows(self) -> int:
        """Items along the batch dimension."""

    @property
    def shape_key(self) -> Hashable:
        """Equal for requests that can be concatenated."""

    @property
    def alone(self) -> bool:
        """It was in a batch that ended its worker."""

    @property
    def waited_us(self) -> int:
        """Microseconds that it had waited in the queue when it was taken."""


C = TypeVar("C", bound=Candidate)


def choose_batch(staged: Sequence[C], rules: BatchRules) -> list[C]:
    """The next batch from *staged*, most urgent first; empty only when nothing is staged.

    The most urgent one always runs; others join it in their order, while they fit, and up to the
    largest preferred size that they reach, unless one of them has waited for as long as it may.
    """
    if not staged:
        return []
    first = staged[0]
    batch, rows = [first], first.rows
    if first.alone or not rules.together:
        return batch
    for other in staged[1:]:
        if rows >= rules.most_rows:
            break
        fits = rows + other.rows <= rules.most_rows
        if fits and not other.alone and other.shape_key == first.shape_key:
            batch.append(other)
            rows += other.rows
    return _preferred_part(batch, rules) if rules.preferred else batch


def _preferred_part(batch: list[C], rules: BatchRules) -> list[C]:
    """The first ones of *batch* that have the largest preferred size; all where there is none."""
    if 0 < rules.batch_delay_us <= max(one.waited_us for one in batch):
        return batch
    sizes = accumulate(one.rows for one in batch)
    reached = [count for count, size in enumerate(sizes, 1) if size in rules.preferred]
    return batch[: reached[-1]] if reached else batch


def rows_to_claim(staged_rows: int, rules: BatchRules) -> int:
    """Rows that a worker may still stage: one batch ahead of the one that runs, and no more."""
    if not rules.together:
        return 1 if staged_rows == 0 else 0
    return max(0, rules.most_rows - staged_rows)


class GuaranteedTurns:
    """Which claims begin with what waits behind others.

    Strict priorities let the lowest level wait for ever while more urgent work keeps coming in, so
    one in `SHARE` of the claims that found work is a guaranteed turn (ADR 0011).
    """

    SHARE: Final = 8

    def __init__(self) -> None:
        self._claims = 0

    def next(self) -> int:
        """The number of the guaranteed turn that the next claim is; 0 when it is none."""
        turn, rest = divmod(self._claims, self.SHARE)
        return turn if rest == 0 else 0

    def took(self) -> None:
        """A claim gave jobs."""
        self._claims += 1


class RowLimit:
    """How many rows of different requests share a run where nobody has said how many may.

    A row costs memory that cannot be foreseen, so there are few at first. There are twice as many
    each time that full batches keep coming, as long as a row then takes clearly less time, and
    there is memory for it.

    Attributes:
        rows: at present; never more than the *rules* say.
    """

    def __init__(self, rules: BatchRules, *, guessed: bool = True) -> None:
        """*guessed*: those of *rules* are; else they hold from the beginning."""
        self._rules = rules
        self._most = rules.most_rows
        self.rows = min(FIRST_MAX_BATCH, self._most) if guessed else self._most
        self._guessed = guessed
        self._row_s: list[float] = []
        self._cold = _COLD
        self._half_s: float | None = None
        self._rests = 0

    def __repr__(self) -> str:
        return f"RowLimit({self.rows} of {self._most})"

    @property
    def rules(self) -> BatchRules:
        """As they are at present."""
        enough = min(self.rows, self._rules.enough_rows)
        return replace(self._rules, most_rows=self.rows, enough_rows=enough)

    def observe(self, rows: int, took_s: float, has_room: Callable[[], bool]) -> bool:
        """A batch of *rows* rows ran for *took_s* seconds; returns whether the limit changed.

        Args:
            has_room: whether there is memory for batches twice as large.
        """
        if not (self._guessed and 3 * self.rows < 4 * rows <= 4 * self.rows):
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
