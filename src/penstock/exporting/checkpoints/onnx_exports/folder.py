"""Folders of ONNX exports as checkpoints: optimum's, and those of onnxruntime-genai."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from penstock.exporting.architecture import Architecture
from penstock.exporting.checkpoints.checkpoint import Checkpoint, Texts
from penstock.exporting.checkpoints.folder_config import JsonFile
from penstock.exporting.checkpoints.folder_texts import texts_in
from penstock.exporting.checkpoints.onnx_exports.attention_trial import (
    longest_tried,
    try_attention,
)
from penstock.exporting.checkpoints.onnx_exports.decoder import Decoder, decoder_of
from penstock.exporting.checkpoints.onnx_exports.files.model_file import OnnxModel
from penstock.exporting.checkpoints.onnx_exports.numbers import (
    genai_architecture,
    optimum_architecture,
)
from penstock.exporting.checkpoints.onnx_exports.weights import OnnxWeights
from penstock.exporting.errors import CannotExport, Damaged, Unsupported

GENAI_CONFIG: Final = "genai_config.json"
_CONFIG: Final = "config.json"
_FILES: Final = ("model.onnx", "decoder_with_past_model.onnx")
_MERGED: Final = "decoder_model_merged.onnx"
_UNCACHED: Final = "decoder_model.onnx"
_FOLDERS: Final = ("", "onnx")
_SEARCH: Final = ("temperature", "top_k", "top_p", "repetition_penalty", "do_sample")


def is_onnx(folder: Path) -> bool:
    """Whether *folder* has an ONNX export, and no safetensors."""
    if any(folder.glob("model*.safetensors*")):
        return False
    return (folder / GENAI_CONFIG).is_file() or _found(folder) is not None


def _found(folder: Path) -> Path | None:
    names = (*_FILES, _MERGED, _UNCACHED)
    paths = (folder / within / name for within in _FOLDERS for name in names)
    return next((path for path in paths if path.is_file()), None)


def open_onnx(folder: Path) -> Checkpoint:
    """The checkpoint in *folder*, its attention tried.

    Raises:
        CannotExport: it is incomplete or damaged, or computes what the stages would not.
    """
    if (folder / GENAI_CONFIG).is_file():
        config = JsonFile.read(folder / GENAI_CONFIG)
        model = OnnxModel.open(_genai_file(folder, config))
        decoder = decoder_of(model)
        architecture = genai_architecture(model, decoder, config)
        texts = _genai_texts(folder, config)
    else:
        config = JsonFile.read(folder / _CONFIG)
        model = OnnxModel.open(_optimum_file(folder))
        decoder = decoder_of(model)
        architecture = optimum_architecture(model, decoder, config)
        texts = texts_in(folder, config, JsonFile.read_if_there(folder / "generation_config.json"))
    return _checkpoint(folder.name, model, decoder, architecture, texts)


def _checkpoint(
    name: str, model: OnnxModel, decoder: Decoder, architecture: Architecture, texts: Texts
) -> Checkpoint:
    architecture = replace(architecture, context=longest_tried(architecture))
    _check_width(model, decoder, architecture)
    roles = try_attention(model, decoder, architecture)
    weights = OnnxWeights(decoder, architecture, roles)
    return Checkpoint(
        name,
        architecture,
        texts,
        weights.shapes,
        weights.read,
        weights.blocks,
        weights.is_rounded,
    )


def _check_width(model: OnnxModel, decoder: Decoder, architecture: Architecture) -> None:
    """Before numbers of that width are made up."""
    if decoder.table.shape[1] != architecture.width:
        raise Damaged(
            model.file,
            f"its hidden states have {decoder.table.shape[1]} numbers, its configuration says "
            f"{architecture.width}",
        )


def _optimum_file(folder: Path) -> Path:
    found = _found(folder)
    if found is None:
        raise CannotExport(f"{folder} has no model.onnx: give a folder with one in it")
    if found.name == _MERGED:
        raise Unsupported(
            f"{found.name}: it has two graphs in one",
            "put decoder_with_past_model.onnx beside it, or export it with --no-post-process",
        )
    if found.name == _UNCACHED:
        raise Unsupported(
            f"{found.name}: it has no cache", "put decoder_with_past_model.onnx beside it"
        )
    return found


def _genai_file(folder: Path, config: JsonFile) -> Path:
    decoder = _object(_object(config.fields, "model"), "decoder")
    if "pipeline" in decoder:
        raise Unsupported(
            f"{config.name}: its decoder is several graphs", "export it for the CPU (-e cpu)"
        )
    name = decoder.get("filename", "model.onnx")
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(".onnx"):
        raise CannotExport(f"{config.name} names {name!r}, which is no ONNX file of the folder")
    if not (folder / name).is_file():
        raise CannotExport(f"{folder} lacks {name}, which {config.name} names: copy it there")
    return folder / name


def _object(fields: object, name: str) -> dict[str, object]:
    found = fields.get(name) if isinstance(fields, dict) else None
    return found if isinstance(found, dict) else {}


def _genai_texts(folder: Path, config: JsonFile) -> Texts:
    """What onnxruntime-genai says of sampling has the names of generation_config.json."""
    search, model = _object(config.fields, "search"), _object(config.fields, "model")
    advice: dict[str, object] = {name: search[name] for name in _SEARCH if name in search}
    advice["eos_token_id"] = model.get("eos_token_id")
    return texts_in(folder, config, JsonFile(config.name, advice))
