"""Folders: where the models of repositories are, and where one of them is."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from penstock.errors import InvalidConfiguration
from penstock.recent import kept

_MOST_FOLDERS: Final = 8192


def resolved(roots: Sequence[Path]) -> list[Path]:
    """Where the repositories are at this moment; each once."""
    return list(dict.fromkeys(_real(root) for root in roots))


def _real(root: Path) -> Path:
    try:
        return root.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise _unreadable(root, error) from error


def folders_in(bases: Sequence[Path]) -> dict[str, list[Path]]:
    """The directories of each model."""
    found: dict[str, list[Path]] = {}
    for base in bases:
        try:
            with os.scandir(base) as entries:
                names = [entry.name for entry in entries if _holds_model(entry)]
        except OSError as error:
            raise _unreadable(base, error) from error
        for name in names:
            found.setdefault(name, []).append(_folder(base, name))
    return found


@kept(_MOST_FOLDERS)
def _folder(base: Path, name: str) -> Path:
    # Repositories are looked at again and again.
    return base / name


def _holds_model(entry: "os.DirEntry[str]") -> bool:
    # Of most entries the kind is known without a look at each, which takes long on a network.
    try:
        return entry.is_dir() and not entry.name.startswith(".")
    except OSError:
        # A link that leads to itself.
        return False


def folders_of(bases: Sequence[Path], model: str) -> list[Path]:
    """The directories of one model; nothing else is looked at."""
    if not model or model.startswith(".") or "/" in model or "\0" in model:
        return []
    found: list[Path] = []
    for base in bases:
        try:
            if not base.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if (base / model).is_dir():
                found.append(base / model)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise _unreadable(base, error) from error
    return found


def _unreadable(root: Path, error: Exception) -> InvalidConfiguration:
    why = error.strerror if isinstance(error, OSError) else None
    return InvalidConfiguration(
        f"the model repository {root} cannot be read: {why or error}; "
        "name a directory that holds one directory for each model"
    )


def unusable(name: str) -> bool:
    """Whether *name* is a directory's, and cannot be a model's."""
    printable = name.encode("utf-8", "backslashreplace").decode()
    return printable != name or any(character.isspace() for character in name)
