"""What a path holds: a GGUF file, or a folder of Hugging Face or of an ONNX export."""

from pathlib import Path
from typing import Final

from penstock.exporting.checkpoints.checkpoint import Checkpoint
from penstock.exporting.checkpoints.folder import open_folder
from penstock.exporting.checkpoints.folder_config import JsonFile
from penstock.exporting.checkpoints.gguf_checkpoint import open_gguf
from penstock.exporting.checkpoints.onnx_exports.folder import is_onnx, open_onnx
from penstock.exporting.checkpoints.weight_files import refuse_pickle
from penstock.exporting.errors import CannotExport
from penstock.exporting.whisper.ctranslate2 import is_ctranslate2, open_ctranslate2
from penstock.exporting.whisper.folder import is_whisper, open_whisper

READ: Final = (
    "a GGUF file, a Hugging Face folder (config.json, safetensors), the folder of an ONNX export "
    "(optimum's with config.json and model.onnx, onnxruntime-genai's with genai_config.json), or "
    "a Whisper's CTranslate2 folder"
)


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at *path*, its shapes checked.

    Raises:
        CannotExport: it is none that can be exported; says what to do.
    """
    if path.is_dir():
        checkpoint = _opened(path)
    elif path.is_file():
        refuse_pickle(path)
        if path.suffix == ".onnx":
            raise CannotExport(f"{path} is one file of an export: give its folder, {path.parent}")
        checkpoint = open_gguf(path)
    else:
        raise CannotExport(f"there is no {path}: give {READ}")
    checkpoint.check()
    return checkpoint


def _opened(folder: Path) -> Checkpoint:
    if is_ctranslate2(folder):
        return open_ctranslate2(folder)
    if is_onnx(folder):
        return open_onnx(folder)
    if not (folder / "config.json").is_file():
        raise CannotExport(f"{folder} has no config.json, and is none that is read: give {READ}")
    config = JsonFile.read(folder / "config.json")
    return open_whisper(folder, config) if is_whisper(config) else open_folder(folder, config)
