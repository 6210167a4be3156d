"""Telling: what models are told of functions, of calls, and of what these brought. Pure.

A chat template that knows tools tells it in the model's own way; here is how others are told.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock.language.grammar.tools import CLOSE, NAMED, OPEN

Messages = Sequence[Mapping[str, Any]]

_BEGIN: Final = "You may call functions. These are their JSON schemas, one a line:\n<tools>\n"
_END: Final = "\n</tools>\nTo call one, answer with its name and its arguments, as this:\n"
_MOST_SHOWN: Final = 8


def in_plain_words(messages: Messages, tools: Messages) -> list[dict[str, Any]]:
    """*messages* for a chat template that knows nothing of *tools*, as the OpenAI API has both."""
    found: list[dict[str, Any]] = []
    responds = False
    for message in messages:
        if message.get("role") == "tool":
            said = f"<tool_response>\n{message.get('content')}\n</tool_response>"
            # What several calls brought is one message: templates want roles to take turns.
            if responds:
                found[-1]["content"] += f"\n{said}"
            else:
                found.append({"role": "user", "content": said})
            responds = True
        else:
            found.append(_with_calls(message))
            responds = False
    return _with_functions(found, tools) if tools else found


def _with_calls(message: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in message.items() if name != "tool_calls"}
    calls = message.get("tool_calls")
    if not calls:
        return kept
    written = [_written(call["function"]) for call in calls]
    said = [str(message["content"])] if message.get("content") else []
    return {**kept, "content": "\n".join([*said, *written])}


def _with_functions(messages: list[dict[str, Any]], tools: Messages) -> list[dict[str, Any]]:
    words = _BEGIN + "\n".join(json.dumps(one, ensure_ascii=False) for one in tools) + _END
    words += _example(tools[0]["function"])
    if messages and messages[0].get("role") == "system":
        first = {**messages[0], "content": f"{messages[0].get('content')}\n\n{words}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": words}, *messages]


def _example(function: Mapping[str, Any]) -> str:
    """A call of *function*, with what each argument is in the place of a value.

    Small models repeat what stands in an example: a name that no function has, or a value. What is
    no JSON the grammar of calls does not let them repeat.
    """
    schema = function.get("parameters") or {}
    properties, required = schema.get("properties"), schema.get("required")
    known = properties if isinstance(properties, Mapping) else {}
    needed = required if isinstance(required, list) else []
    shown = [name for name in needed if isinstance(name, str) and name in known]
    names = (shown or list(known))[:_MOST_SHOWN]
    arguments = ", ".join(f"{json.dumps(name)}: {_kind(known[name])}" for name in names)
    return f"{OPEN}{function.get('name')}{NAMED}{{{arguments}}}{CLOSE}"


def _kind(schema: Any) -> str:
    """What fits *schema*, as far as it says so in a word."""
    said = schema if isinstance(schema, Mapping) else {}
    values, kind = said.get("enum"), said.get("type")
    if isinstance(values, list) and values:
        return " | ".join(json.dumps(one) for one in values[:_MOST_SHOWN])
    kinds = kind if isinstance(kind, list) else [kind]
    return " | ".join(one for one in kinds if isinstance(one, str)) or "value"


def _written(function: Mapping[str, Any]) -> str:
    arguments = json.dumps(function.get("arguments", {}), ensure_ascii=False)
    return f"{OPEN}{function.get('name')}{NAMED}{arguments}{CLOSE}"
