"""Footprint: what a worker holds of its device's memory once its shard is loaded and warmed up."""

import contextlib
import os
from pathlib import Path
from typing import Final

from penstock.models.config.model_config import LANGUAGE
from penstock.process import machine
from penstock.scheduler.decisions.wants import PROCESS_BYTES

_ROLLUP: Final = Path("/proc/self/smaps_rollup")
_OWN: Final = frozenset({"Pss_Anon:", "Pss_Shmem:"})


def footprint(device_kind: str) -> int:
    """Bytes that this process holds of a device of that kind; 0 where nobody tells."""
    if device_kind == "cuda":
        return machine.gpu_bytes_of(os.getpid()) or 0
    with contextlib.suppress(OSError, ValueError):
        return own_bytes(_ROLLUP.read_text())
    return 0


def with_cache(device_kind: str, held: int, weights: int, cache: int) -> int:
    """Bytes of the device that a language model's stage holds once all of its slots are full.

    Args:
        held: what `footprint` tells. The cache is among it on a GPU, which has given it already;
            the system gives the processor's when it is used.
    """
    if device_kind == "cpu":
        return held + cache
    return held or PROCESS_BYTES[device_kind, LANGUAGE] + weights + cache


def own_bytes(rollup: str) -> int:
    """Bytes of a process's memory that no file holds as well; its share of what others have, too.

    Args:
        rollup: Linux's smaps_rollup.
    """
    lines = (line.split() for line in rollup.splitlines())
    return sum(int(words[1]) << 10 for words in lines if words and words[0] in _OWN)
