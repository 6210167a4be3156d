"""Hearing: what a request asks a model of speech to write down, in tokens and samples."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from penstock.errors import InvalidRequest
from penstock.gateway.requests.language.languages import Language
from penstock.language.options import DecodingOptions
from penstock.language.speech.tokens import TRANSCRIBE, Speech, prompt_of
from penstock.models.config.language_models import AUDIO_INPUT, TEXT_INPUT, TOKENS_INPUT
from penstock.protos.wire import Buffer

LANGUAGE, TASK = "language", "task"
"""Options of requests to models of speech, beside those of all language models."""

_NOT_OFFERED: Final = ("structured_outputs", "tools", "tool_choice", "parallel_tool_calls")


def refuse_unheard(speech: Speech | None, given: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing to such a model.

    Raises:
        InvalidRequest: names the option.
    """
    wrong = [LANGUAGE, TASK, "timestamps"] if speech is None else _NOT_OFFERED
    for name in wrong:
        if name in given:
            why = "is for models of speech" if speech is None else "is not for models of speech"
            raise InvalidRequest(f"'{name}' {why}: remove it")


def audio_of(speech: Speech, inputs: Mapping[str, Buffer]) -> Buffer:
    """What a model shall hear of *inputs*, FP32 samples.

    Raises:
        InvalidRequest: there are none, too many, or some are no numbers.
    """
    raw = inputs.get(AUDIO_INPUT)
    if raw is None:
        raise InvalidRequest(
            f"the model writes down what it hears: send {AUDIO_INPUT}, FP32 samples at 16 kHz"
        )
    samples = np.frombuffer(raw, "<f4")
    if not 0 < len(samples) <= speech.samples:
        raise InvalidRequest(
            f"{AUDIO_INPUT} has {len(samples)} samples: it must have 1 to {speech.samples}, "
            f"{speech.seconds:g} s at 16 kHz of one channel"
        )
    if not np.isfinite(samples).all():
        raise InvalidRequest(f"{AUDIO_INPUT} has samples that are no numbers (NaN, inf)")
    return raw


async def asked_tokens(
    language: Language,
    speech: Speech,
    inputs: Mapping[str, Any],
    given: dict[str, Any],
    options: DecodingOptions,
) -> list[int]:
    """The decoder's prompt: as the request has it, or of what it says of language and task.

    Args:
        given: the request's options of speech.

    Raises:
        InvalidRequest: it asks for what the model does not know, or the prompt is no plain text.
    """
    if TOKENS_INPUT in inputs:
        if given or TEXT_INPUT in inputs:
            raise InvalidRequest(f"{TOKENS_INPUT} says all: leave out the text, language and task")
        tokens: list[int] = np.frombuffer(inputs[TOKENS_INPUT], "<i8").tolist()
        return tokens
    said, task = given.get(LANGUAGE), given.get(TASK, TRANSCRIBE)
    if not isinstance(said, str | None) or not isinstance(task, str):
        raise InvalidRequest(f"{LANGUAGE} and {TASK} must be texts, such as 'en', '{TRANSCRIBE}'")
    before: list[int] = []
    if TEXT_INPUT in inputs:
        before = await _before(language, speech, text_of(TEXT_INPUT, inputs[TEXT_INPUT]))
    room = language.manifest.context
    return prompt_of(speech, said, task, before, room, timestamps=options.timestamps)


async def _before(language: Language, speech: Speech, text: str) -> list[int]:
    """The tokens of a text that came before."""
    if not text.strip():
        return []
    # As a text goes on: with a space between words.
    tokens = await language.tokens_of(f" {text.strip()}", special=False)
    if any(token >= speech.end for token in tokens):
        raise InvalidRequest(f"{TEXT_INPUT} must be plain text: remove what is written <|so|>")
    return tokens


def text_of(name: str, raw: Any) -> str:
    """The only element of a BYTES tensor.

    Raises:
        InvalidRequest: it is no text.
    """
    try:
        return bytes(raw[4:]).decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name} must be UTF-8") from None
