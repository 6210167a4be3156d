"""Hugging Face folders as checkpoints: config.json, safetensors, tokenizer.json."""

from pathlib import Path
from typing import Final

from penstock.exporting.architecture import PROJECTIONS
from penstock.exporting.checkpoints.checkpoint import Checkpoint
from penstock.exporting.checkpoints.folder_config import JsonFile, architecture_of
from penstock.exporting.checkpoints.folder_texts import texts_in
from penstock.exporting.checkpoints.safetensors_files import SafetensorsFiles
from penstock.exporting.checkpoints.weight_files import weight_files

_PARTS: Final = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_WHOLE: Final = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def open_folder(folder: Path, config: JsonFile) -> Checkpoint:
    """The checkpoint in *folder*, whose config.json is *config*.

    Raises:
        CannotExport: it is incomplete or damaged, its weights are pickles, or the model is one that
            cannot be exported.
    """
    files = SafetensorsFiles.open(weight_files(folder), folder.name)
    names = {ours: name for name in files.shapes if (ours := _name(name)) is not None}
    biased = frozenset(p for p in PROJECTIONS if f"blk.0.{p}.bias" in names)
    normed = "blk.0.attn_q_norm.weight" in names
    architecture = architecture_of(
        config, tied="output.weight" not in names, biased=biased, normed=normed
    )
    shapes = {ours: files.shapes[name] for ours, name in names.items()}
    return Checkpoint(
        folder.name,
        architecture,
        texts_in(folder, config, JsonFile.read_if_there(folder / "generation_config.json")),
        shapes,
        lambda ours: files.read(names[ours]),
    )


def _name(name: str) -> str | None:
    """A tensor's name in GGUF files; None for one that has no part in computing."""
    if name in _WHOLE:
        return _WHOLE[name]
    head, _, rest = name.partition("model.layers.")
    layer, _, part = rest.partition(".")
    part, _, kind = part.rpartition(".")
    if head or not layer.isdigit() or part not in _PARTS:
        return None
    return f"blk.{int(layer)}.{_PARTS[part]}.{kind}"
