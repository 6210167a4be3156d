"""The texts of a Hugging Face folder: tokenizer, chat template, advice on drawing tokens."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from penstock.exporting.checkpoints.checkpoint import Texts
from penstock.exporting.checkpoints.folder_config import JsonFile
from penstock.exporting.checkpoints.text_files import text_of, tokenizer_in

_MOST_TEMPLATE: Final = 1 << 20
_VARIABLES: Final = ("bos_token", "eos_token", "unk_token", "pad_token")
_DEFAULTS: Final = ("temperature", "top_k", "top_p", "repetition_penalty")


def texts_in(folder: Path, config: JsonFile, advice: JsonFile) -> Texts:
    """The texts in *folder*; *advice* says how its makers would have answers drawn.

    Raises:
        CannotExport: a file is damaged, or too large.
    """
    said = JsonFile.read_if_there(folder / "tokenizer_config.json")
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
