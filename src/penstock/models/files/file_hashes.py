"""File hashes: what a file holds, in a few characters; a file that is the same is not read again.

All bytes count. A file of up to `PIECE_BYTES` has the hash that it has always had; a larger one is
hashed in pieces of that size, several at a time, and its hash begins with `WHOLE`. Older releases
took samples of those: `sampled_hash` is for what they have published (ADR 0022).
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self

from penstock.errors import ArtifactUnusable
from penstock.process import machine

PIECE_BYTES: Final = 64 << 20
WHOLE: Final = "whole-"

FileKey = tuple[Path, bool]
"""A file, and whether its hash is that of samples."""

HashOf = Callable[[Path], str]
"""Gives a file's hash; may raise `StillReading`."""

_BLOCK: Final = 1 << 20
_SAMPLE: Final = 1 << 16
_MOST_THREADS: Final = 4
COARSEST_CLOCK_NS: Final = 2_000_000_000
"""Of the times that file systems keep: two writes within it may bear the same one."""


class StillReading(ArtifactUnusable):
    """Not all of a file has been read yet, or it is being written: ask again later."""


class Stand(NamedTuple):
    """Which file it is, and when it was written: another one where any byte may be another.

    The time of the last change (ctime) cannot be set by those who write, as mtime can.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, file: Path) -> Self:
        """The stand of *file* now."""
        return cls.found(file.stat())

    @classmethod
    def found(cls, stat: os.stat_result) -> Self:
        """The stand that *stat* tells."""
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class _Known(NamedTuple):
    stand: Stand
    digest: str
    settled: bool
    """No write can have followed that the stand does not show."""


class FileHashes:
    """The hashes of files that are looked at again and again.

    What was not asked for between two calls of `turn` is forgotten, so that there are as many as
    there are files. One thread at a time may ask.

    Args:
        waits: `of` returns when even a large file has been read; otherwise such a file is read
            beside, and `of` raises `StillReading` until that is done.
        now_ns: the clock of the file system.
    """

    def __init__(self, *, waits: bool = True, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._waits = waits
        self._now_ns = now_ns
        self._known: dict[tuple[Path, bool], _Known] = {}
        self._asked: set[tuple[Path, bool]] = set()
        self._beside: threading.Thread | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self.sampled = False
        """Large files are told apart as older releases do."""
        self.reads = 0
        """How many files were read."""

    def __len__(self) -> int:
        return len(self._known)

    @property
    def any_large(self) -> bool:
        """Whether a file is known, or being read, whose hash older releases have otherwise."""
        with self._lock:
            sizes = [known.stand.size for known in self._known.values()]
        reading = self._beside is not None and self._beside.is_alive()
        return reading or any(size > PIECE_BYTES for size in sizes)

    def of(self, file: Path) -> str:
        """The hash of *file*.

        Raises:
            StillReading: it cannot be told yet.
            OSError: it cannot be read.
        """
        stand = Stand.of(file)
        large = stand.size > PIECE_BYTES
        key = (file, self.sampled and large)
        self._asked.add(key)
        known = self._known.get(key)
        if known is not None and known.stand == stand and known.settled:
            return known.digest
        if not large or self._waits or self.sampled:
            return self._read(key)
        self._read_beside(key)
        if known is not None and known.stand == stand:
            # Good enough for now; it is read once more, since it was written a moment ago.
            return known.digest
        raise StillReading(
            f"{file.name} is being read for the first time since it was written "
            f"({stand.size / (1 << 20):.0f} MiB): this takes a while"
        )

    def known_among(self, files: Iterable[Path]) -> tuple[FileKey, ...]:
        """Those hashes of *files* that are known, for `keep`."""
        keys = ((file, sampled) for file in files for sampled in (False, True))
        return tuple(key for key in keys if key in self._known)

    def keep(self, hashes: Iterable[FileKey]) -> None:
        """As if they had been asked for."""
        self._asked.update(hashes)

    def turn(self) -> None:
        """Forget what was not asked for since the last call."""
        with self._lock:
            for key in self._known.keys() - self._asked:
                del self._known[key]
        self._asked.clear()

    def close(self) -> None:
        """Stop reading; what is asked from now on is refused."""
        self._closed.set()

    def _read_beside(self, key: tuple[Path, bool]) -> None:
        # One at a time: two would be no faster, and hold each other up.
        if self._beside is not None and self._beside.is_alive():
            return
        thread = threading.Thread(target=self._try_to_read, args=(key,), name="hash", daemon=True)
        self._beside = thread
        thread.start()

    def _try_to_read(self, key: tuple[Path, bool]) -> None:
        try:
            self._read(key)
        except (ArtifactUnusable, OSError):
            # Whoever asks next begins anew.
            with self._lock:
                self._known.pop(key, None)

    def _read(self, key: tuple[Path, bool]) -> str:
        file, sampled = key
        began_ns, before = self._now_ns(), Stand.of(file)
        self.reads += 1
        digest = sampled_hash(file) if sampled else whole_hash(file, self._closed)
        if Stand.of(file) != before:
            raise StillReading(f"{file.name} changes while it is read: wait until it is whole")
        settled = abs(began_ns - before.ctime_ns) > COARSEST_CLOCK_NS
        with self._lock:
            self._known[key] = _Known(before, digest, settled)
        return digest


def whole_hash(file: Path, stopped: threading.Event | None = None) -> str:
    """The hash of all that *file* holds.

    Raises:
        StillReading: *stopped* meanwhile.
    """
    size = file.stat().st_size
    if size <= PIECE_BYTES:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, partial(hashlib.blake2b, digest_size=16)).hexdigest()
    descriptor = os.open(file, os.O_RDONLY)

    def piece(start: int) -> bytes:
        # The interpreter is free for others while a block is read, and while it is hashed.
        found = hashlib.sha256()
        for at in range(start, min(start + PIECE_BYTES, size), _BLOCK):
            if stopped is not None and stopped.is_set():
                raise StillReading(f"{file.name} is not read to its end")
            found.update(os.pread(descriptor, min(_BLOCK, size - at, start + PIECE_BYTES - at), at))
        return found.digest()

    try:
        with ThreadPoolExecutor(min(_MOST_THREADS, machine.cores()), "hash") as pool:
            whole = hashlib.sha256(b"".join(pool.map(piece, range(0, size, PIECE_BYTES))))
    finally:
        os.close(descriptor)
    return WHOLE + whole.hexdigest()[:32]


def sampled_hash(file: Path) -> str:
    """As releases before `whole_hash` had it: of a large file, equal blocks, evenly spread."""
    size = file.stat().st_size
    if size <= PIECE_BYTES:
        return whole_hash(file)
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        blocks = PIECE_BYTES // _SAMPLE
        for number in range(blocks):
            stream.seek((size - _SAMPLE) * number // (blocks - 1))
            digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()
