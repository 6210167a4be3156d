"""Known models: what was read of each; one whose files are the same is not read again.

To see that costs a look at each entry of the model's directories, and opens nothing.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from penstock.models.files.file_hashes import COARSEST_CLOCK_NS, FileHashes, FileKey, Stand
from penstock.protos import cluster_pb2 as pb


class Entry(NamedTuple):
    """A directory or file of a model.

    Attributes:
        follows: of a link: what it leads to is meant.
        stand: None where it cannot be looked at.
    """

    path: str
    follows: bool
    stand: Stand | None


Footprint = tuple[Entry, ...]
"""Each entry of a model's directories, at any depth, and the directories."""

_MOST_DEPTH: Final = 32

T = TypeVar("T")


class _Known(NamedTuple):
    footprint: Footprint
    hashed: tuple[FileKey, ...]
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
        known = self._known.get(key)
        if known is not None and _is_as_before(known.footprint):
            self._hashes.keep(known.hashed)
            return [*known.versions]
        began_ns, before = self._now_ns(), footprint(folders)
        found = list(read())
        self._known.pop(key, None)
        versions = [one for one in found if isinstance(one, pb.ModelVersion) and not one.error]
        if len(versions) == len(found) and _settled(before, began_ns):
            hashed = self._hashes.known_among(Path(entry.path) for entry in before)
            self._known[key] = _Known(before, hashed, versions)
        return found

    def turn(self) -> None:
        """Forget what was not asked for since the last call."""
        for key in self._known.keys() - self._asked:
            del self._known[key]
        self._asked.clear()


def footprint(folders: Sequence[Path]) -> Footprint:
    """Another one when anything below *folders* is another, or was written; links are followed."""
    found: list[Entry] = []
    for folder in folders:
        _add_entries(str(folder), _MOST_DEPTH, found)
    return tuple(found)


def _add_entries(path: str, depth: int, found: list[Entry]) -> None:
    try:
        found.append(Entry(path, True, Stand.found(os.stat(path))))  # noqa: PTH116
        with os.scandir(path) as entries:
            below = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        # Whoever reads it says so, each time.
        return
    for entry in below:
        if entry.is_symlink():
            found.append(Entry(entry.path, False, Stand.found(entry.stat(follow_symlinks=False))))
        if depth and entry.is_dir():
            _add_entries(entry.path, depth - 1, found)
            continue
        try:
            found.append(Entry(entry.path, True, Stand.found(entry.stat())))
        except OSError:
            found.append(Entry(entry.path, True, None))


def _is_as_before(seen: Footprint) -> bool:
    """Whether `footprint` would find the same: a directory is written when its entries change."""
    for path, follows, stand in seen:
        try:
            now = os.stat(path, follow_symlinks=follows)  # noqa: PTH116 - a Path costs more than it
        except OSError:
            if stand is not None:
                return False
            continue
        if stand is None or Stand.found(now) != stand:
            return False
    return True


def _settled(seen: Footprint, began_ns: int) -> bool:
    """Whether no write can have followed that the footprint does not show."""
    return all(abs(began_ns - stand.ctime_ns) > COARSEST_CLOCK_NS for _, _, stand in seen if stand)
