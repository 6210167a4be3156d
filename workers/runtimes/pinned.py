"""Page-locked memory, which a device reads by itself while the processor does something else."""

import ctypes
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, cast

import numpy as np

from penstock.tensors import Array

MOST_BYTES: Final = 256 << 20
"""Of all buffers of a shard: what is locked is taken from everybody else on the machine."""

_LEAST: Final = 1 << 16


class Pinning(NamedTuple):
    """How memory is locked, and let go of again.

    Attributes:
        lock: gets an address and bytes; whether it could.
        unlock: gets an address that was locked.
    """

    lock: Callable[[int, int], bool]
    unlock: Callable[[int], None]


UNPINNED: Final = Pinning(lambda _, __: False, lambda _: None)
"""Where nothing can be locked."""


class PinnedBuffers:
    """A page-locked buffer for each input of a shard, as large as the largest that came so far."""

    def __init__(self, pinning: Pinning, most_bytes: int = MOST_BYTES) -> None:
        self._pinning = pinning
        self._left = most_bytes
        self._buffers: dict[str, Array] = {}

    def copied(self, name: str, array: Array) -> Array:
        """*array* in the buffer of input *name*, until the next one; itself where there is no room.

        It lies there in one piece, row by row.
        """
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < array.nbytes:
            buffer = self._grown(name, array.nbytes)
        if buffer is None:
            return np.ascontiguousarray(array)
        copy = buffer[: array.nbytes].view(array.dtype).reshape(array.shape)
        np.copyto(copy, array)
        return cast("Array", copy)

    def _grown(self, name: str, size: int) -> Array | None:
        room = max(_LEAST, 1 << (size - 1).bit_length())
        old = self._buffers.pop(name, None)
        if old is not None:
            self._pinning.unlock(old.ctypes.data)
            self._left += len(old)
        if room > self._left:
            return None
        made = np.frombuffer(mmap.mmap(-1, room), np.uint8)
        if not self._pinning.lock(made.ctypes.data, room):
            # The machine has no more to lock: it is not asked each time.
            self._left = 0
            return None
        self._left -= room
        self._buffers[name] = made
        return made


def cuda_pinning() -> Pinning | None:
    """By the CUDA runtime that this process has loaded already; None where it has none."""
    cuda = loaded_library("libcudart.so")
    if cuda is None:
        return None

    def lock(address: int, size: int) -> bool:
        status: int = cuda.cudaHostRegister(ctypes.c_void_p(address), ctypes.c_size_t(size), 0)
        return status == 0

    def unlock(address: int) -> None:
        cuda.cudaHostUnregister(ctypes.c_void_p(address))

    return Pinning(lock, unlock)


def loaded_library(name: str) -> ctypes.CDLL | None:
    """A library that this process uses; None if it uses none whose file is called *name*."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    files = (line.split(maxsplit=5)[5] for line in maps.splitlines() if name in line)
    file = next(files, None)
    return None if file is None else ctypes.CDLL(file)
