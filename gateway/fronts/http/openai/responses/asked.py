"""What the body of a request to the Responses API asks for. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from penstock.gateway.fronts.http.openai.asked import (
    MOST_MESSAGES,
    check_known,
    model_of,
    most_logprobs,
    options_of,
    switch_of,
)
from penstock.gateway.fronts.http.openai.fields import FieldRefused
from penstock.gateway.fronts.http.openai.structures import OPTION, AskedStructure, format_of

_OWN: Final = frozenset(
    {
        *("model", "input", "instructions", "stream", "background", "store", "text"),
        *("include", "top_logprobs"),
    }
)
_IGNORED: Final = frozenset(
    {
        *("user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"),
        *("prompt_cache_options", "prompt_cache_retention", "parallel_tool_calls"),
        "stream_options",
    }
)
_OPTIONS: Final = {
    **{name: name for name in ("temperature", "top_p", "top_k", "min_p", "seed", "stop")},
    "max_output_tokens": "max_tokens",
    "stop_token_ids": "stop_tokens",
    "ignore_eos": "ignore_end",
}
_NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "reasoning": ({},),
    "truncation": ("disabled",),
    **dict.fromkeys(("previous_response_id", "conversation", "prompt", "max_tool_calls"), ()),
    **dict.fromkeys(("access_programs", "background_options", "context_management"), ()),
    **dict.fromkeys(("image", "moderation"), ()),
}
_LOGPROBS: Final = "message.output_text.logprobs"
_TEXT_PARTS: Final = ("input_text", "output_text", "text")
_ECHOED: Final = frozenset(
    {
        *("instructions", "max_output_tokens", "temperature", "top_p", "top_logprobs"),
        *("user", "metadata", "text"),
    }
)

NOTHING_SAID: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("instructions", "max_output_tokens", "user")),
    "temperature": 1.0,
    "top_p": 1.0,
    "top_logprobs": 0,
    "metadata": {},
}
"""What an answer repeats of a request that says nothing."""


class AskedResponse(NamedTuple):
    """A request, read.

    Attributes:
        kept: it can be fetched later, and goes on meanwhile.
        said: what its answer repeats of it.
        structure: what the answer must be, which is in the options as well.
    """

    model: str
    messages: list[dict[str, Any]]
    options: dict[str, Any]
    stream: bool
    background: bool
    kept: bool
    said: dict[str, Any]
    structure: AskedStructure | None


def response_of(body: Mapping[str, Any]) -> AskedResponse:
    """What a body sent to /v1/responses asks for.

    Raises:
        FieldRefused: names the field that cannot be so.
    """
    check_known(body, _OWN | _IGNORED | set(_OPTIONS), _NEUTRAL)
    stream, background = switch_of(body, "stream"), switch_of(body, "background")
    said = {**NOTHING_SAID, **{name: body[name] for name in _ECHOED if body.get(name) is not None}}
    options, structure = options_of(body, _OPTIONS), _structure_of(body)
    if structure is not None:
        options[OPTION] = structure.structure.to_option()
    return AskedResponse(
        model_of(body),
        _messages(body),
        {**options, **_logprobs(body)},
        stream,
        background,
        background or switch_of(body, "store"),
        said,
        structure,
    )


def _structure_of(body: Mapping[str, Any]) -> AskedStructure | None:
    text = body.get("text")
    if text is None:
        return None
    if not isinstance(text, dict) or set(text) - {"format", "verbosity"}:
        raise FieldRefused("text", "text has format alone")
    if text.get("verbosity") not in (None, "medium"):
        raise FieldRefused("text.verbosity", "'text.verbosity' is not offered yet: remove it")
    said = text.get("format")
    found = None if said is None else format_of("text.format", said, said)
    if found is not None and body.get("ignore_eos"):
        raise FieldRefused("ignore_eos", "ignore_eos cannot be together with text.format")
    return found


def _logprobs(body: Mapping[str, Any]) -> dict[str, int]:
    """The option, where the body wants log probabilities."""
    include, count = body.get("include") or [], most_logprobs(body)
    if include not in ([], [_LOGPROBS]):
        raise FieldRefused("include", f"include may have '{_LOGPROBS}' alone")
    if count and not include:
        raise FieldRefused("top_logprobs", f"top_logprobs needs '{_LOGPROBS}' in include")
    return {"logprobs": count or 0} if include else {}


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    given, instructions = body.get("input"), body.get("instructions")
    if isinstance(given, str):
        messages = [{"role": "user", "content": given}]
    elif isinstance(given, list) and 0 < len(given) <= MOST_MESSAGES:
        messages = [_message(one) for one in given]
    else:
        raise FieldRefused("input", f"input must be a text, or 1 to {MOST_MESSAGES} messages")
    if instructions is None:
        return messages
    if not isinstance(instructions, str):
        raise FieldRefused("instructions", "instructions must be a text")
    return [{"role": "system", "content": instructions}, *messages]


def _message(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict) or item.get("type", "message") != "message":
        raise FieldRefused("input", "input may have items of type 'message' alone")
    role, content = item.get("role"), item.get("content")
    if isinstance(content, list):
        if not all(isinstance(part, dict) and part.get("type") in _TEXT_PARTS for part in content):
            raise FieldRefused("input", "messages may have parts of text alone")
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(role, str) or not isinstance(content, str):
        raise FieldRefused("input", "each message must have a role and a content of text")
    return {"role": "system" if role == "developer" else role, "content": content}
