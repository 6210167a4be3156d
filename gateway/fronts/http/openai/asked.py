"""What the body of a request to the OpenAI API asks for. Pure.

A field that would change what is answered, and that is not known here, is refused by its name;
those that change nothing are left alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from penstock.errors import InvalidRequest
from penstock.gateway.fronts.http.openai.structures import (
    FIELDS,
    OPTION,
    structure_of,
)
from penstock.gateway.requests.language.fields import AskedStructure, FieldRefused
from penstock.gateway.requests.language.tools.asked import FIELDS as TOOL_FIELDS
from penstock.gateway.requests.language.tools.asked import tools_of
from penstock.gateway.requests.language.tools.messages import calls_of
from penstock.language.options import MOST_LOGPROBS, DecodingOptions

MOST_CHOICES: Final = 64
MOST_MESSAGES: Final = 4096
_MOST_OF_COMPLETIONS: Final = 5
"""Of the likeliest tokens, that completions tell of."""

_SAME: Final = (
    *("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty"),
    *("frequency_penalty", "logit_bias", "seed", "stop", "max_tokens"),
)
_OPTIONS: Final = {
    **{name: name for name in _SAME},
    "max_completion_tokens": "max_tokens",
    "stop_token_ids": "stop_tokens",
    "ignore_eos": "ignore_end",
}
"""Field -> the option that it is."""

_OWN: Final = frozenset({"model", "stream", "stream_options", "n"})
_IGNORED: Final = frozenset(
    {
        *("user", "metadata", "store", "service_tier", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        "parallel_tool_calls",
    }
)
"""They change nothing of an answer."""

_NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "top_logprobs": (0,),
    "echo": (False,),
    "best_of": (1,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "moderation": (),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""What is not offered yet -> values that ask for nothing of it."""


class Asked(NamedTuple):
    """A request, read.

    Attributes:
        prompts: texts, or lists of tokens; of a chat, one list of messages.
        choices: answers to each prompt.
        options: of each answer, as `DecodingOptions.of` takes them.
        usage: a stream ends with how many tokens there were.
        structure: what each answer must be, which is in its options as well.
        tools: what the model is told that it may call; empty where it may not.
    """

    model: str
    prompts: list[Any]
    choices: int
    options: dict[str, Any]
    stream: bool
    usage: bool
    structure: AskedStructure | None = None
    tools: Sequence[Mapping[str, Any]] = ()


def completion_of(body: Mapping[str, Any]) -> Asked:
    """What a body sent to /v1/completions asks for.

    Raises:
        FieldRefused: names the field that cannot be so.
    """
    prompt = body.get("prompt")
    if isinstance(prompt, str) or are_tokens(prompt):
        prompts = [prompt]
    elif isinstance(prompt, list) and prompt and all(_is_prompt(one) for one in prompt):
        prompts = prompt
    else:
        raise FieldRefused("prompt", "prompt must be a text, a list of texts, or lists of tokens")
    return _asked(body, "prompt", prompts, _completion_logprobs(body))


def chat_of(body: Mapping[str, Any]) -> Asked:
    """What a body sent to /v1/chat/completions asks for; errors as for `completion_of`."""
    asked = _asked(body, "messages", [messages_of(body)], _chat_logprobs(body))
    tools = tools_of(body, asked.structure)
    if tools is None:
        return asked
    options = {**asked.options, OPTION: tools.structure.structure.to_option()}
    return asked._replace(options=options, structure=tools.structure, tools=tools.given)


def messages_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A body's messages, each with its content as one text; errors as for `completion_of`."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= MOST_MESSAGES:
        raise FieldRefused("messages", f"messages must be a list of 1 to {MOST_MESSAGES} messages")
    return [_message(one) for one in messages]


def model_of(body: Mapping[str, Any]) -> str:
    """The name of the model that a body is for; errors as for `completion_of`."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise FieldRefused("model", "model must be the name of a model")
    return model


def _asked(
    body: Mapping[str, Any], content: str, prompts: list[Any], logprobs: int | None
) -> Asked:
    known = {content, "logprobs"}
    known |= {"top_logprobs", *TOOL_FIELDS} if content == "messages" else {"echo"}
    check_known(body, _OWN | _IGNORED | FIELDS | known | set(_OPTIONS), _NEUTRAL)
    model = model_of(body)
    choices = _given(body, "n", 1)
    if not _is_integer(choices) or not 1 <= choices * len(prompts) <= MOST_CHOICES:
        raise FieldRefused("n", f"n must be from 1, for at most {MOST_CHOICES} answers in all")
    stream = switch_of(body, "stream")
    usage = _wants_usage(body, stream=stream)
    options, structure = options_of(body, _OPTIONS), structure_of(body)
    if structure is not None:
        options[OPTION] = structure.structure.to_option()
    if logprobs is not None:
        options["logprobs"] = logprobs
    if switch_of(body, "echo"):
        options["echo"] = True
    return Asked(model, prompts, choices, options, stream, usage, structure)


def _wants_usage(body: Mapping[str, Any], *, stream: bool) -> bool:
    options = _given(body, "stream_options", {})
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}:
        raise FieldRefused("stream_options", "stream_options has include_usage alone")
    if options and not stream:
        raise FieldRefused("stream_options", "stream_options is for streams: set stream to true")
    if switch_of(options, "include_obfuscation"):
        raise FieldRefused(
            "stream_options", "'stream_options.include_obfuscation' is not offered yet: remove it"
        )
    return switch_of(options, "include_usage")


def _chat_logprobs(body: Mapping[str, Any]) -> int | None:
    if switch_of(body, "logprobs"):
        return most_logprobs(body) or 0
    if most_logprobs(body):
        raise FieldRefused("top_logprobs", "top_logprobs needs logprobs: set it to true")
    return None


def most_logprobs(body: Mapping[str, Any]) -> int | None:
    """How many of the likeliest tokens *body* wants told; errors as for `completion_of`."""
    return _count_of(body, "top_logprobs", MOST_LOGPROBS)


def _completion_logprobs(body: Mapping[str, Any]) -> int | None:
    if body.get("logprobs") is False:
        return None
    return _count_of(body, "logprobs", _MOST_OF_COMPLETIONS)


def _count_of(body: Mapping[str, Any], name: str, most: int) -> int | None:
    count: int | None = body.get(name)
    if count is not None and (not _is_integer(count) or not 0 <= count <= most):
        raise FieldRefused(name, f"{name} must be an integer from 0 to {most}")
    return count


def options_of(body: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The options that *body* gives; None stands for what it does not.

    Args:
        names: field -> the option that it is.

    Raises:
        FieldRefused: one has a value that it cannot have.
    """
    found: dict[str, Any] = {}
    for name, ours in names.items():
        value = body.get(name)
        if value is None:
            continue
        if name == "seed" and _is_integer(value) and -(1 << 63) <= value < 0:
            value %= 1 << 64
        try:
            DecodingOptions.of({ours: value})
        except InvalidRequest as error:
            raise FieldRefused(name, str(error).replace(ours, name, 1)) from None
        found[ours] = value
    return found


def check_known(
    body: Mapping[str, Any],
    known: frozenset[str],
    neutral: Mapping[str, tuple[Any, ...]],
) -> None:
    """Hold the names of *body*'s fields against those that are *known*.

    Args:
        neutral: what is not offered -> values that ask for nothing of it.

    Raises:
        FieldRefused: one is of neither.
    """
    for name, value in body.items():
        if name in known:
            continue
        if name not in neutral:
            raise FieldRefused(name, f"unknown field '{name}': remove it")
        if value is not None and not any(value is one or value == one for one in neutral[name]):
            raise FieldRefused(name, f"'{name}' is not offered yet: remove it")


def _message(message: Any) -> dict[str, Any]:
    """A message with its content as one text; a developer speaks as the system."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise FieldRefused("messages", "each message must be an object with a role and a content")
    content, calls = message.get("content"), calls_of(message)
    if content is None and calls:
        content = ""
    if isinstance(content, list):
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            raise FieldRefused("messages", "messages may have parts of type 'text' alone")
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise FieldRefused(
            "messages", "the content of each message must be a text, or parts of type 'text'"
        )
    role = "system" if message["role"] == "developer" else message["role"]
    return {**message, **calls, "role": role, "content": content}


def _given(body: Mapping[str, Any], name: str, default: Any) -> Any:
    value = body.get(name)
    return default if value is None else value


def switch_of(body: Mapping[str, Any], name: str) -> bool:
    """Whether *body* switches this on; errors as for `completion_of`."""
    value = _given(body, name, False)
    if not isinstance(value, bool):
        raise FieldRefused(name, f"{name} must be true or false")
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def are_tokens(value: Any) -> bool:
    """Whether it is a list of tokens, one at least."""
    return isinstance(value, list) and bool(value) and all(_is_integer(one) for one in value)


def _is_prompt(value: Any) -> bool:
    return isinstance(value, str) or are_tokens(value)
