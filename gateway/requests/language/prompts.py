"""Prompts: what a request asks of a language model, in tokens and options."""

import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from penstock.errors import InvalidRequest
from penstock.gateway.requests.language.answer import Prompted, is_named
from penstock.gateway.requests.language.fields import AskedStructure
from penstock.gateway.requests.language.hearing import (
    LANGUAGE,
    TASK,
    asked_tokens,
    audio_of,
    refuse_unheard,
    text_of,
)
from penstock.gateway.requests.language.languages import Language, Languages
from penstock.gateway.requests.language.tools.asked import FIELDS as TOOL_FIELDS
from penstock.gateway.requests.language.tools.asked import AskedTools, tools_of
from penstock.gateway.requests.language.tools.messages import calls_of
from penstock.gateway.requests.reading import Asked
from penstock.language.grammar.structure import Structure
from penstock.language.grammar.telling import Messages
from penstock.language.log.entries import prompt_entries
from penstock.language.options import DecodingOptions
from penstock.models.config.language_models import (
    LOGPROBS_OUTPUT,
    MESSAGES_INPUT,
    SAMPLING_INPUT,
    TEXT_INPUT,
    TOKENS_INPUT,
)
from penstock.protos import grpc_service_pb2 as pb

MOST_ECHOED: Final = 8192
"""Tokens of a prompt that is told of: each takes up to 172 bytes of the log."""

STRUCTURE: Final = "structured_outputs"

_PROMPTS: Final = (TEXT_INPUT, TOKENS_INPUT, MESSAGES_INPUT)
_OF_SERVERS: Final = frozenset({"priority", "timeout", "headers", "binary_data_output"})
_OF_SERVERS_STARTS: Final = ("triton_", "penstock_")
_JSON_STARTS: Final = ("[", "{")


class PromptTooLong(InvalidRequest):
    """There is no room for the prompt, or none for a token after it."""


async def read_prompt(languages: Languages, asked: Asked) -> Prompted:
    """What *asked*, whose form is known to be fine, asks the model for.

    Raises:
        InvalidRequest: it asks for what cannot be; says what to change.
        ModelNotReady: see `of`.
    """
    language = await languages.of(asked.served)
    inputs = dict(zip((tensor.name for tensor in asked.request.inputs), asked.raws, strict=True))
    given, speech = _given(asked.request, inputs), language.manifest.speech
    refuse_unheard(speech, given)
    spoken = {name: given.pop(name) for name in (LANGUAGE, TASK) if name in given}
    tools = _tools_in(given, inputs)
    options = DecodingOptions.of(given, language.manifest.defaults)
    options = options.seeded(lambda: secrets.randbits(64))
    await language.check(options.structured_outputs)
    if speech is None:
        tokens = await _tokens(inputs, language, () if tools is None else tools.given)
        audio = None
    else:
        tokens = await asked_tokens(language, speech, inputs, spoken, options)
        audio = audio_of(speech, inputs)
    prompted = Prompted(asked, language, options, tokens, tools is not None, audio)
    _check(prompted)
    return prompted


def _check(prompted: Prompted) -> None:
    """Refuse a prompt for which there is no room, or of which cannot be told what is asked."""
    asked, language, options, tokens, *_ = prompted
    if options.logprobs is None and is_named(asked.request, LOGPROBS_OUTPUT):
        raise InvalidRequest(
            f"the output '{LOGPROBS_OUTPUT}' needs the option logprobs: how many of the likeliest "
            "tokens are told, from 0"
        )
    room = language.manifest.context
    if not tokens:
        raise InvalidRequest("the prompt has 0 tokens: it must have 1 at least")
    if len(tokens) >= room:
        # Clients tell this refusal from others by the words about the context.
        raise PromptTooLong(
            f"the prompt has {len(tokens)} tokens, and this model's maximum context length is "
            f"{room} tokens, together with the answer: shorten it"
        )
    if prompt_entries(options, len(tokens)) > MOST_ECHOED:
        raise InvalidRequest(
            f"echo with logprobs tells of each token of the prompt: it has {len(tokens)}, and may "
            f"have {MOST_ECHOED}"
        )
    if min(tokens) < 0 or max(tokens) >= language.manifest.vocabulary:
        raise InvalidRequest(f"{TOKENS_INPUT} must be from 0 to {language.manifest.vocabulary - 1}")


async def _tokens(inputs: Mapping[str, Any], language: Language, tools: Messages) -> list[int]:
    if sum(name in inputs for name in _PROMPTS) != 1:
        raise InvalidRequest(f"give one of {', '.join(_PROMPTS)}")
    if MESSAGES_INPUT in inputs:
        return await language.chat(_messages(inputs[MESSAGES_INPUT]), tools)
    if TOKENS_INPUT in inputs:
        tokens: list[int] = np.frombuffer(inputs[TOKENS_INPUT], "<i8").tolist()
        return tokens
    return await language.tokens_of(text_of(TEXT_INPUT, inputs[TEXT_INPUT]), special=True)


def _messages(raw: Any) -> list[dict[str, Any]]:
    """A conversation as JSON."""
    try:
        said = json.loads(text_of(MESSAGES_INPUT, raw))
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, list) or not said or not all(isinstance(one, dict) for one in said):
        raise InvalidRequest(
            f'{MESSAGES_INPUT} must be JSON, as [{{"role": "user", "content": "hello"}}]'
        )
    return [{**one, **calls_of(one)} for one in said]


def _tools_in(given: dict[str, Any], inputs: Mapping[str, Any]) -> AskedTools | None:
    """The functions that an answer may call; *given* has what it must be then, instead of them.

    Raises:
        InvalidRequest: they cannot be so, or there are no messages.
    """
    body = {name: given.pop(name) for name in TOOL_FIELDS if name in given}
    if not body:
        return None
    if MESSAGES_INPUT not in inputs:
        raise InvalidRequest(f"tools are for {MESSAGES_INPUT}: send the prompt as these")
    asked = given.get(STRUCTURE)
    answer = None if asked is None else AskedStructure(STRUCTURE, Structure.of(STRUCTURE, asked))
    tools = tools_of(body, answer)
    if tools is not None:
        if given.get("ignore_end"):
            raise InvalidRequest("ignore_end cannot be together with tools: remove one")
        given[STRUCTURE] = tools.structure.structure.to_option()
    return tools


def _given(request: pb.ModelInferRequest, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the request gives, as parameters or as JSON."""
    given = dict(_parameters(request))
    if SAMPLING_INPUT in inputs:
        text = text_of(SAMPLING_INPUT, inputs[SAMPLING_INPUT])
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise InvalidRequest(f"{SAMPLING_INPUT} must be a JSON object")
        given = {**said, **given}
    return given


def _parameters(request: pb.ModelInferRequest) -> Iterator[tuple[str, Any]]:
    """The request's own parameters; lists and objects as JSON."""
    for name in request.parameters:
        if name in _OF_SERVERS or name.startswith(_OF_SERVERS_STARTS):
            continue
        value = request.parameters[name]
        kind = value.WhichOneof("parameter_choice")
        found = getattr(value, kind) if kind else None
        if isinstance(found, str) and found.startswith(_JSON_STARTS) and name != "stop":
            try:
                found = json.loads(found)
            except (ValueError, RecursionError):
                raise InvalidRequest(f"{name} must be a list or an object as JSON") from None
        yield name, found
