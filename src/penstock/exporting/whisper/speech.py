"""The tokens of a model of speech that are no words, found in its tokenizer by their names."""

import json
import re
from typing import Final

from penstock.exporting.checkpoints.checkpoint import SpokenTexts
from penstock.exporting.errors import CannotExport
from penstock.exporting.whisper.architecture import Whisper
from penstock.language.speech.tokens import Speech
from penstock.language.tokenizer import Tokenizer

ENCODER_FILE: Final = "encoder.onnx"

_NAMES: Final = {
    "begin": "<|startoftranscript|>",
    "previous": "<|startofprev|>",
    "transcribe": "<|transcribe|>",
    "translate": "<|translate|>",
    "no_timestamps": "<|notimestamps|>",
}
_END: Final = "<|endoftext|>"
_LANGUAGE: Final = re.compile(r"<\|([a-z]{2,3})\|>")


def speech_of(tokenizer: Tokenizer, shape: Whisper, texts: SpokenTexts) -> Speech:
    """What the manifest says of the model; its encoder's size is yet to be known.

    Raises:
        CannotExport: the tokenizer is none of such a model.
    """
    tokens = {ours: _token(tokenizer, name) for ours, name in _NAMES.items()}
    end, times = _token(tokenizer, _END), tokens["no_timestamps"] + 1
    fits = end == tokens["begin"] - 1 and max(tokens.values()) == times - 1
    if not fits or times >= shape.vocabulary:
        raise CannotExport(
            "the tokenizer has its tokens in another order than Whisper's: give the model's own "
            "with --tokenizer tokenizer.json"
        )
    languages = _languages(tokenizer, tokens) if shape.knows_languages else {}
    if shape.knows_languages and not languages:
        raise CannotExport("the model knows many languages, and its tokenizer has no token of one")
    return Speech(
        artifact=ENCODER_FILE,
        weight_bytes=0,
        mels=shape.mels,
        positions=shape.positions,
        languages=languages,
        suppressed=texts.suppressed,
        suppressed_first=texts.suppressed_first,
        **tokens,
    )


def ends_of(tokenizer: Tokenizer, texts: SpokenTexts) -> tuple[int, ...]:
    """The tokens that end a text."""
    return texts.end_tokens or (_token(tokenizer, _END),)


def without_times(content: bytes, speech: Speech) -> bytes:
    """A tokenizer.json whose timestamps are special: they are no part of a text."""
    said = json.loads(content)
    for token in said.get("added_tokens", ()):
        if token["id"] >= speech.first_timestamp:
            token["special"] = True
    return json.dumps(said, ensure_ascii=False).encode()


def _token(tokenizer: Tokenizer, name: str) -> int:
    token = tokenizer.token_of(name)
    if token is None:
        raise CannotExport(
            f"the tokenizer has no token {name}: it is none of Whisper's; give the model's own "
            "with --tokenizer tokenizer.json"
        )
    return token


def _languages(tokenizer: Tokenizer, tokens: dict[str, int]) -> dict[str, int]:
    found = {}
    for token in range(tokens["begin"] + 1, tokens["no_timestamps"]):
        named = _LANGUAGE.fullmatch(tokenizer.written(token))
        if named is not None:
            found[named[1]] = token
    return found
