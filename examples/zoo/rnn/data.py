"""Yearly sunspots 1700 to 2008, as the Royal Observatory of Belgium counts them; public domain."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

SEEN_UNTIL = 1920
"""What came after that year is held out."""


def read() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Years [n] and their numbers of spots [n, 1]."""
    table = np.loadtxt(Path(__file__).parent / "sunspots.csv", delimiter=",", skiprows=1)
    return table[:, 0].astype(np.int64), table[:, 1:].astype(np.float32)
