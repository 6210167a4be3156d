"""The C heap, where messages lie while they pass through.

glibc gives freed memory back to the kernel as soon as a few of the largest blocks lie idle at the
heap's end. A process through which large messages pass then gets each page anew, cleared, for
every one of them: with 600 KB each, a third of the work. So what serves keeps some of it.
"""

import ctypes
import gc
import os
from collections.abc import Mapping
from typing import Final

KEPT_BYTES: Final = 64 << 20
"""So much freed memory at the end of a heap is kept."""

MAPPED_FROM_BYTES: Final = 16 << 20
"""Blocks from this size on are the kernel's own affair, and go back at once."""

_ASIDE_BYTES: Final = 1 << 20

MOST_HEAPS: Final = 2
"""glibc would have eight for each core, each of which keeps its freed memory by itself."""

# In malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX.
_OPTIONS: Final = {
    "MALLOC_TRIM_THRESHOLD_": (-1, KEPT_BYTES),
    "MALLOC_TOP_PAD_": (-2, _ASIDE_BYTES),
    "MALLOC_MMAP_THRESHOLD_": (-3, MAPPED_FROM_BYTES),
    "MALLOC_ARENA_MAX": (-8, MOST_HEAPS),
}

VARIABLES: Final[Mapping[str, str]] = {name: str(value) for name, (_, value) in _OPTIONS.items()}
"""The same for a program that is about to be started, unless its environment says otherwise."""


def keep_freed_memory() -> None:
    """Keep freed memory from now on, where the C library is glibc and nobody has told it better."""
    if any(name in os.environ for name in VARIABLES):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in _OPTIONS.values():
            mallopt(option, value)


def give_back_freed_memory() -> None:
    """Give back all that is freed, for once; where the C library is not glibc, nothing is kept.

    What only a cycle holds is freed first: a call that failed may be one, with its message.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
