"""Windows of long audio: cut where it is quiet, so that no word is in two of them."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_SHARE: Final = 6
"""The cut is in the last sixth of a window: 5 s of 30."""

_QUIET: Final = 1600
"""Samples in the middle of which it is cut: 0.1 s."""


def windows(samples: Floats, most: int) -> Sequence[tuple[int, int]]:
    """Beginning and end of each window of *samples*, of *most* samples each; one at least."""
    return list(_windows(samples, most))


def _windows(samples: Floats, most: int) -> Iterator[tuple[int, int]]:
    begin = 0
    while len(samples) - begin > most:
        end = begin + most
        at = _quietest(samples[end - most // _SHARE : end])
        cut = end - most // _SHARE + at
        yield begin, cut
        begin = cut
    yield begin, len(samples)


def _quietest(samples: Floats) -> int:
    """The middle of the quietest tenth of a second, of several the first; from 1 on."""
    size = max(1, min(_QUIET, len(samples)))
    sums = np.cumsum(np.square(samples, dtype=np.float64))
    powers = sums[size - 1 :] - np.concatenate([[0.0], sums[:-size]])
    return max(1, int(powers.argmin()) + size // 2)
