"""The tokenizer inside a GGUF file, as a tokenizer.json: byte-level BPE of the usual kinds."""

from collections.abc import Mapping
from typing import Any, Final

from penstock.exporting.errors import Damaged

_LLAMA3: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2: Final = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_CONTROL, _USER = 3, 4


def tokenizer_json(fields: Mapping[str, Any], file: str) -> bytes | None:
    """A tokenizer.json, or None where the file's tokenizer is of another kind.

    Raises:
        Damaged: the vocabulary or the merges cannot be so.
    """
    kind = fields.get("tokenizer.ggml.pre", "default")
    if fields.get("tokenizer.ggml.model") != "gpt2" or kind not in _SPLITS:
        return None
    from tokenizers import AddedToken, Tokenizer, decoders, models

    vocabulary = _texts(fields, "tokens", file)
    merges = [_pair(merge, file) for merge in _texts(fields, "merges", file)]
    try:
        library = Tokenizer(models.BPE({t: n for n, t in enumerate(vocabulary)}, merges))
    except Exception as error:
        raise Damaged(file, f"its tokenizer cannot be so ({error})") from error
    library.pre_tokenizer = _split(kind)
    library.decoder = decoders.ByteLevel()
    kinds = fields.get("tokenizer.ggml.token_type")
    kinds = kinds if isinstance(kinds, list) else []
    for text, of in zip(vocabulary, kinds, strict=False):
        if of in (_CONTROL, _USER):
            token = AddedToken(text, special=of == _CONTROL, normalized=False)
            (library.add_special_tokens if of == _CONTROL else library.add_tokens)([token])
    return str(library.to_str()).encode()


def _pair(merge: str, file: str) -> tuple[str, str]:
    one, _, other = merge.partition(" ")
    if not one or not other:
        raise Damaged(file, f"it has the merge {merge[:40]!r}, which is no pair")
    return one, other


def _split(kind: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    split = _SPLITS[kind]
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split in ("", "digits"))
    if split == "":
        return whole
    if split == "digits":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), whole])
    first = pre_tokenizers.Split(Regex(split), behavior="isolated", invert=False)
    return pre_tokenizers.Sequence([first, whole])


_SPLITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("default", "gpt-2"), ""),
    **dict.fromkeys(("smollm",), "digits"),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), _LLAMA3),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), _QWEN2),
}
"""How text is split before merges, by llama.cpp's name for it: GPT-2's rule, or another."""


def _texts(fields: Mapping[str, Any], name: str, file: str) -> list[str]:
    found = fields.get(f"tokenizer.ggml.{name}")
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise Damaged(file, f"tokenizer.ggml.{name} is no list of texts")
    return found
