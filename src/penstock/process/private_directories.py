"""Private directories: nobody else reads them, no two runs share one, none is left behind.

A directory belongs to the run that holds the lock on its file ``lock``. What a killed run could
not remove is removed by the next one.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock.errors import InvalidConfiguration

LOCK_S: Final = 5.0
"""How long to wait for the end of a run that has the directory."""

_LOCK_NAME: Final = "lock"
_POLL_S: Final = 0.05
# A run makes its directory a moment before it locks it.
_SETTLED_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class PrivateDirectory:
    """A directory that is ours.

    Attributes:
        lock: file descriptor; a child that inherits it keeps the directory ours until it ends, too.
    """

    path: Path
    lock: int


@contextlib.contextmanager
def kept_directory(path: Path) -> Iterator[PrivateDirectory]:
    """The directory *path*, made if need be, with whatever an earlier run left in it.

    Raises:
        InvalidConfiguration: another run uses it, or it cannot be written to.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _open_lock(path)
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be used: {error.strerror}") from error
    try:
        give_up_at = time.monotonic() + LOCK_S
        while not _locked(lock):
            if time.monotonic() > give_up_at:
                raise InvalidConfiguration(
                    f"{path} is in use by another run: stop that, or choose another directory"
                )
            time.sleep(_POLL_S)
        yield PrivateDirectory(path.resolve(), lock)
    finally:
        os.close(lock)


@contextlib.contextmanager
def temporary_directory(base: Path, prefix: str) -> Iterator[PrivateDirectory]:
    """A new directory below *base*, removed at the end."""
    _sweep(base, prefix)
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    lock = _open_lock(path)
    try:
        _locked(lock)
        yield PrivateDirectory(path, lock)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def state_home() -> Path:
    """Where this user's programs keep data between runs; a place that can be written to."""
    chosen = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        path = Path(chosen).expanduser() / "penstock"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return Path(tempfile.gettempdir())
    return path if os.access(path, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def runtime_home() -> Path:
    """Where this user's programs keep sockets; short, because a socket's path may be 107 bytes."""
    chosen = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")  # noqa: S108 what is below is private
    return chosen if os.access(chosen, os.W_OK | os.X_OK) else Path("/tmp")  # noqa: S108


def _sweep(base: Path, prefix: str) -> None:
    for path in base.glob(f"{prefix}*"):
        # Somebody else's, or gone meanwhile.
        with contextlib.suppress(OSError):
            facts = path.lstat()
            if facts.st_uid != os.geteuid() or time.time() - facts.st_mtime < _SETTLED_S:
                continue
            # Only what holds our lock's file is ours: what else has such a name is the user's.
            lock = os.open(path / _LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _locked(lock):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _open_lock(directory: Path) -> int:
    return os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
