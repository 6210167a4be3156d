"""When requests of an open loop are due. Pure."""

import random
from collections.abc import Iterator


def poisson_times(rate_per_s: float, seed: int) -> Iterator[float]:
    """Seconds from the start at which independent callers, *rate_per_s* in all, would send.

    The gaps are exponential; the sequence is endless and the same for the same *seed*.
    """
    gaps = random.Random(seed)  # noqa: S311 - load, not cryptography
    due_s = 0.0
    while True:
        due_s += gaps.expovariate(rate_per_s)
        yield due_s
