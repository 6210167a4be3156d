"""What a fuzz target is, and what is held against it for each input.

A target takes bytes and does with them what Penstock does. It may end well, or with an error that
a caller is told of; anything else is a failure. Time and memory are bounded by those of the
target's own seeds, measured in the same run: no input may cost a hundred times as much for each of
its bytes.
"""

import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from penstock.errors import PenstockError

RATIO = 100
"""An input may cost so many times what a seed of its length does."""

LEAST_S = 0.002
"""What anything may cost; a clock's tick and a collection of garbage are less."""

FREE_BYTES = 16 << 20
BYTES_PER_BYTE = 2048
"""Memory that one input may take: so much, and this much more for each of its bytes."""

Mutate = Callable[[bytes, Random], bytes]


class Target(NamedTuple):
    """One way into Penstock.

    Attributes:
        feeds: what the bytes are, and where they go.
        seeds: real ones, from which inputs are made.
        run: does with them what Penstock does.
        told: the errors that it may end with.
        mutate: changes an input by its structure; bytes change anyway.
        unpacks: how many times more a byte may cost, where it stands for many: compressed images.
    """

    name: str
    feeds: str
    seeds: Sequence[bytes]
    run: Callable[[bytes], object]
    told: tuple[type[Exception], ...] = (PenstockError,)
    mutate: Mutate | None = None
    unpacks: int = 1


@dataclass
class Tally:
    """What came of the inputs of one target."""

    inputs: int = 0
    slowest_s: float = 0.0
    slowest: bytes = b""
    grown_bytes: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    def note(self, kind: str, data: bytes) -> None:
        """Keep the shortest input of each kind of failure."""
        before = self.failures.get(kind)
        if before is None or len(data.hex()) < len(before):
            self.failures[kind] = data.hex()


class Watch:
    """Runs one target, input after input."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.tally = Tally()
        self._seed_s = max(min(self._timed(seed) for _ in range(3)) for seed in target.seeds)
        self._seed_bytes = max(1, *map(len, target.seeds))

    def feed(self, data: bytes) -> None:
        """Run one input and hold it against the bounds."""
        tally = self.tally
        tally.inputs += 1
        before = _most_memory()
        took_s = self._timed(data)
        grown = _most_memory() - before
        tally.grown_bytes += grown
        if grown > self.target.unpacks * (FREE_BYTES + BYTES_PER_BYTE * len(data)):
            tally.note(f"memory: {grown >> 20} MiB for one input", data)
        allowed_s = max(LEAST_S, RATIO * self._seed_s * max(1.0, len(data) / self._seed_bytes))
        allowed_s *= self.target.unpacks
        if took_s > allowed_s:
            took_s = min(took_s, *(self._timed(data) for _ in range(3)))
            if took_s > allowed_s:
                tally.note("time: a hundred times that of a seed of its length", data)
        if took_s > tally.slowest_s:
            tally.slowest_s, tally.slowest = took_s, data

    def _timed(self, data: bytes) -> float:
        """Processor time for *data*; what it must not end with is noted."""
        began = time.thread_time()
        try:
            self.target.run(data)
        except self.target.told:
            pass
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            self.tally.note(_kind_of(error), data)
        return time.thread_time() - began


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _kind_of(error: Exception) -> str:
    """The error's type, and the last line of Penstock's that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "penstock" in frame.filename or "fuzz" in frame.filename]
    last = (ours or frames)[-1]
    return f"{type(error).__name__} at {last.filename.rpartition('/')[2]}:{last.lineno}"


def replay(targets: Sequence[Target], name: str, data: bytes) -> None:
    """Run one input of the target *name* and let its error out; for `python -m fuzz.run`."""
    for target in targets:
        if target.name == name:
            print(target.run(data), file=sys.stderr)
