"""What the body of a request to the Responses API asks for. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from penstock.gateway.fronts.http.openai.asked import (
    check_known,
    model_of,
    most_logprobs,
    options_of,
    switch_of,
)
from penstock.gateway.fronts.http.openai.responses.messages import messages_of
from penstock.gateway.fronts.http.openai.structures import OPTION, format_of
from penstock.gateway.requests.language.fields import AskedStructure, FieldRefused
from penstock.gateway.requests.language.tools.asked import FIELDS as TOOL_FIELDS
from penstock.gateway.requests.language.tools.asked import RESPONSES, AskedTools, tools_of

_OWN: Final = frozenset(
    {
        *("model", "input", "instructions", "stream", "background", "store", "text"),
        *("include", "top_logprobs"),
    }
)
_IGNORED: Final = frozenset(
    {
        *("user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"),
        *("prompt_cache_options", "prompt_cache_retention"),
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
    "reasoning": ({},),
    "truncation": ("disabled",),
    **dict.fromkeys(("previous_response_id", "conversation", "prompt", "max_tool_calls"), ()),
    **dict.fromkeys(("access_programs", "background_options", "context_management"), ()),
    **dict.fromkeys(("image", "moderation"), ()),
}
_LOGPROBS: Final = "message.output_text.logprobs"
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
        given: the field `input`, as it came.
        tools: what the model is told that it may call, as chats have it; empty where it may not.
    """

    model: str
    messages: list[dict[str, Any]]
    options: dict[str, Any]
    stream: bool
    background: bool
    kept: bool
    said: dict[str, Any]
    structure: AskedStructure | None
    given: Any
    tools: Sequence[Mapping[str, Any]] = ()


def response_of(body: Mapping[str, Any]) -> AskedResponse:
    """What a body sent to /v1/responses asks for.

    Raises:
        FieldRefused: names the field that cannot be so.
    """
    check_known(body, _OWN | _IGNORED | TOOL_FIELDS | set(_OPTIONS), _NEUTRAL)
    stream, background = switch_of(body, "stream"), switch_of(body, "background")
    said = {**NOTHING_SAID, **{name: body[name] for name in _ECHOED if body.get(name) is not None}}
    options, structure = options_of(body, _OPTIONS), _structure_of(body)
    options |= _logprobs(body)
    tools = tools_of(body, structure, RESPONSES)
    if tools is not None:
        structure, said = tools.structure, {**said, **_said_of(body, tools)}
        if "logprobs" in options:
            raise FieldRefused("include", f"'{_LOGPROBS}' cannot be together with tools")
    if structure is not None:
        options[OPTION] = structure.structure.to_option()
    return AskedResponse(
        model_of(body),
        messages_of(body),
        options,
        stream,
        background,
        background or switch_of(body, "store"),
        said,
        structure,
        body["input"],
        () if tools is None else tools.given,
    )


def _said_of(body: Mapping[str, Any], tools: AskedTools) -> dict[str, Any]:
    """What an answer repeats of the functions that it may call."""
    nothing = dict.fromkeys(("description", "parameters", "strict"))
    several, choice = body.get("parallel_tool_calls"), body.get("tool_choice")
    return {
        "tools": [
            {"type": "function", **nothing, **function["function"]} for function in tools.given
        ],
        "tool_choice": "auto" if choice is None else choice,
        "parallel_tool_calls": several is not False,
    }


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
