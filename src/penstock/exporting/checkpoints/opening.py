"""What a path holds: a GGUF file, or a Hugging Face folder."""

from pathlib import Path

from penstock.exporting.checkpoints.checkpoint import Checkpoint
from penstock.exporting.checkpoints.folder import open_folder
from penstock.exporting.checkpoints.folder_config import JsonFile
from penstock.exporting.checkpoints.gguf_checkpoint import open_gguf
from penstock.exporting.checkpoints.weight_files import refuse_pickle
from penstock.exporting.errors import CannotExport
from penstock.exporting.whisper.ctranslate2 import is_ctranslate2, open_ctranslate2
from penstock.exporting.whisper.folder import is_whisper, open_whisper


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at *path*, its shapes checked.

    Raises:
        CannotExport: it is none that can be exported; says what to do.
    """
    if path.is_dir():
        checkpoint = _opened(path)
    elif path.is_file():
        refuse_pickle(path)
        checkpoint = open_gguf(path)
    else:
        raise CannotExport(f"there is no {path}: give a GGUF file, or a Hugging Face folder")
    checkpoint.check()
    return checkpoint


def _opened(folder: Path) -> Checkpoint:
    if is_ctranslate2(folder):
        return open_ctranslate2(folder)
    config = JsonFile.read(folder / "config.json")
    return open_whisper(folder, config) if is_whisper(config) else open_folder(folder, config)
