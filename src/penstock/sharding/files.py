"""Artifacts appear whole or not at all."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from penstock.sharding.errors import CannotShard

_SHARD = re.compile(r"shard-\d+\.(onnx|onnx\.data|pt2)")


@contextmanager
def written_whole(directory: Path) -> Iterator[Path]:
    """A private folder beside *directory*; its files move there when the block ends well.

    Each file arrives by a rename, shard 0 last. Shards of an earlier cut that the new one does
    not replace are removed, so that the folder does not keep stages of two cuts.

    Raises:
        CannotShard: the folder cannot be written.
    """
    is_new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(prefix=".shards-", dir=directory))
    except OSError as error:
        raise CannotShard(f"cannot write to {directory}: {error.strerror}") from None
    try:
        yield workplace
        for old in directory.iterdir():
            if _SHARD.fullmatch(old.name) and not (workplace / old.name).exists():
                old.unlink()
        for path in sorted(workplace.iterdir(), reverse=True):
            path.replace(directory / path.name)
    except OSError as error:
        raise CannotShard(f"cannot write to {directory}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
        if is_new:
            with suppress(OSError):
                directory.rmdir()  # where nothing came of it; it fails for a folder with content
