"""Hugging Face folders as checkpoints: config.json, safetensors, tokenizer.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from penstock.exporting.architecture import PROJECTIONS
from penstock.exporting.checkpoints.checkpoint import Checkpoint, Texts
from penstock.exporting.checkpoints.folder_config import JsonFile, architecture_of
from penstock.exporting.checkpoints.safetensors_files import SafetensorsFiles
from penstock.exporting.checkpoints.text_files import text_of, tokenizer_in
from penstock.exporting.checkpoints.weight_files import weight_files

_MOST_TEMPLATE: Final = 1 << 20

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
_VARIABLES: Final = ("bos_token", "eos_token", "unk_token", "pad_token")
_DEFAULTS: Final = ("temperature", "top_k", "top_p", "repetition_penalty")


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
        _texts(folder, config),
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


def _texts(folder: Path, config: JsonFile) -> Texts:
    said = JsonFile.read_if_there(folder / "tokenizer_config.json")
    advice = JsonFile.read_if_there(folder / "generation_config.json")
    end = advice.fields.get("eos_token_id", config.fields.get("eos_token_id"))
    ends = end if isinstance(end, list) else [end]
    return Texts(
        tokenizer_in(folder),
        _template(folder, said),
        tuple(token for token in ends if isinstance(token, int) and token >= 0),
        _defaults(advice.fields),
        _variables(said.fields),
    )


def _defaults(advice: Mapping[str, Any]) -> dict[str, Any]:
    if advice.get("do_sample") is not True:
        return {}
    given = {name: advice[name] for name in _DEFAULTS if isinstance(advice.get(name), int | float)}
    return {"temperature": 1.0, **given}


def _variables(said: Mapping[str, Any]) -> dict[str, str]:
    """Its special tokens by their names; each is a text, or an object that has it."""
    found: dict[str, str] = {}
    for name in _VARIABLES:
        value = said.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            found[name] = value
    return found


def _template(folder: Path, said: JsonFile) -> str | None:
    content = text_of(folder / "chat_template.jinja", _MOST_TEMPLATE)
    template = said.fields.get("chat_template") if content is None else content.decode("utf-8")
    if isinstance(template, list):  # several, by name
        named = [one for one in template if isinstance(one, dict) and one.get("name") == "default"]
        template = named[0].get("template") if named else None
    return template if isinstance(template, str) and len(template) <= _MOST_TEMPLATE else None
