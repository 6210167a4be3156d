"""What runs next: pure decisions over what a worker has staged.

Requests are batched along dimension 0, and only with others whose inputs have the same names,
datatypes and remaining dimensions.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Protocol, TypeVar

from penstock.clock import LONGEST_MS
from penstock.models.sequencing import slots_of_worker
from penstock.protos import model_config_pb2


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
    def of(cls, config: model_config_pb2.ModelConfig) -> "BatchRules":
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
        batching = config.dynamic_batching
        preferred = _sizes(batching.preferred_batch_size, most)
        return cls(
            most_rows=most,
            together=True,
            enough_rows=max(preferred, default=most),
            batch_delay_us=_batch_delay_us(batching),
            preferred=preferred,
        )

    @classmethod
    def _of_sequences(cls, config: model_config_pb2.ModelConfig) -> "BatchRules":
        """Requests of different sequences share a run: of each, only one is there at a time."""
        most, batching = config.max_batch_size, config.sequence_batching
        if batching.HasField("oldest"):
            candidates = min(most, slots_of_worker(config))
            preferred = _sizes(batching.oldest.preferred_batch_size, candidates)
            return cls(
                most_rows=most,
                together=True,
                enough_rows=max(preferred, default=candidates),
                batch_delay_us=_batch_delay_us(batching.oldest),
                preferred=preferred,
            )
        # As in Triton, the delay counts only where it is said how many slots are enough.
        utilization = batching.direct.minimum_slot_utilization
        return cls(
            most_rows=most,
            together=True,
            enough_rows=max(1, math.ceil(utilization * most)),
            batch_delay_us=_batch_delay_us(batching.direct) if utilization else 0,
        )


def _sizes(preferred: Iterable[int], most: int) -> tuple[int, ...]:
    """The preferred sizes that a batch can have, the least first."""
    return tuple(sorted({min(size, most) for size in preferred}))


class _Delaying(Protocol):
    """A part of a configuration that says how long a batch may wait."""

    max_queue_delay_microseconds: int


def _batch_delay_us(batching: _Delaying) -> int:
    """Its delay, as far as there are numbers for it."""
    return min(batching.max_queue_delay_microseconds, LONGEST_MS * 1000)


class Candidate(Protocol):
    """What a decision needs to know of staged work."""

    @property
    def rows(self) -> int:
        """Items along the batch dimension."""
        ...

    @property
    def shape_key(self) -> Hashable:
        """Equal for requests that can be concatenated."""
        ...

    @property
    def alone(self) -> bool:
        """It was in a batch that ended its worker."""
        ...

    @property
    def waited_us(self) -> int:
        """Microseconds that it had waited in the queue when it was taken."""
        ...


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
