"""Known models: what was read of each; one whose files are the same is not read again.

To see that costs a look at each entry of the model's directories, and opens no file.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from penstock.models.files.file_hashes import COARSEST_CLOCK_NS, FileHashes, Stand
from penstock.protos import cluster_pb2 as pb

Footprint = tuple[tuple[str, Stand], ...]
"""Each entry of a model's directories, at any depth, and its stand."""

_MOST_DEPTH: Final = 32

T = TypeVar("T")


class _Known(NamedTuple):
    footprint: Footprint
    files: tuple[Path, ...]
    versions: list[pb.ModelVersion]


class KnownModels:
    """The models of repositories that are looked at again and again.

    Args:
        hashes: keeps those of files that were not asked for because their model is known.
        now_ns: the clock of the file system.
    """

    def __init__(self, hashes: FileHashes, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._hashes = hashes
        self._now_ns = now_ns
        self._known: dict[tuple[object, ...], _Known] = {}
        self._asked: set[tuple[object, ...]] = set()

    def __len__(self) -> int:
        return len(self._known)

    def of(
        self, folders: Sequence[Path], read: Callable[[], Iterable[pb.ModelVersion | T]]
    ) -> list[pb.ModelVersion | T]:
        """What *read* finds in a model's *folders*; nobody may change the records.

        What has an error, or could not be read to its end, is read again each time.
        """
        key = (self._hashes.sampled, *folders)
        self._asked.add(key)
        began_ns, before = self._now_ns(), footprint(folders)
        known = self._known.get(key)
        if known is not None and known.footprint == before:
            self._hashes.keep(known.files)
            return [*known.versions]
        found = list(read())
        self._known.pop(key, None)
        versions = [one for one in found if isinstance(one, pb.ModelVersion) and not one.error]
        if len(versions) == len(found) and _settled(before, began_ns):
            files = tuple(Path(path) for path, _ in before)
            self._known[key] = _Known(before, files, versions)
        return found

    def turn(self) -> None:
        """Forget what was not asked for since the last call."""
        for key in self._known.keys() - self._asked:
            del self._known[key]
        self._asked.clear()


def footprint(folders: Sequence[Path]) -> Footprint:
    """Another one when anything below *folders* is another, or was written; links are followed."""
    return tuple(entry for folder in folders for entry in _entries(str(folder), _MOST_DEPTH))


def _entries(path: str, depth: int) -> Iterator[tuple[str, Stand]]:
    try:
        yield path, Stand.of(Path(path))
        with os.scandir(path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        # Whoever reads it says so, each time.
        return
    for entry in entries:
        if entry.is_symlink():
            yield entry.path, _stand(entry.stat(follow_symlinks=False))
        if depth and entry.is_dir():
            yield from _entries(entry.path, depth - 1)
            continue
        try:
            yield entry.path, _stand(entry.stat())
        except OSError:
            continue


def _stand(found: os.stat_result) -> Stand:
    return Stand(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _settled(seen: Footprint, began_ns: int) -> bool:
    """Whether no write can have followed that the footprint does not show."""
    return all(abs(began_ns - stand.ctime_ns) > COARSEST_CLOCK_NS for _, stand in seen)
