"""What a path holds: a GGUF file, or a Hugging Face folder."""

from pathlib import Path

from penstock.exporting.checkpoints.checkpoint import Checkpoint
from penstock.exporting.checkpoints.folder import open_folder, refuse_pickle
from penstock.exporting.checkpoints.gguf_checkpoint import open_gguf
from penstock.exporting.errors import CannotExport


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at *path*, its shapes checked.

    Raises:
        CannotExport: it is none that can be exported; says what to do.
    """
    if path.is_dir():
        checkpoint = open_folder(path)
    elif path.is_file():
        refuse_pickle(path)
        checkpoint = open_gguf(path)
    else:
        raise CannotExport(f"there is no {path}: give a GGUF file, or a Hugging Face folder")
    checkpoint.check()
    return checkpoint
