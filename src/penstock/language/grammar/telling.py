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
_EXAMPLES: Final[Mapping[Any, Any]] = {
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}
"""Type -> a value of it; texts are shown as dots."""


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
    words += _written(_example(tools[0]["function"]))
    if messages and messages[0].get("role") == "system":
        first = {**messages[0], "content": f"{messages[0].get('content')}\n\n{words}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": words}, *messages]


def _example(function: Mapping[str, Any]) -> dict[str, Any]:
    """A call of *function*: small models repeat names that are in an example and nowhere else."""
    schema = function.get("parameters") or {}
    properties, required = schema.get("properties"), schema.get("required")
    known = properties if isinstance(properties, Mapping) else {}
    needed = required if isinstance(required, list) else []
    shown = [name for name in needed if isinstance(name, str) and name in known]
    names = (shown or list(known))[:_MOST_SHOWN]
    return {
        "name": function.get("name"),
        "arguments": {name: _value(known[name]) for name in names},
    }


def _value(schema: Any) -> Any:
    """A value that fits *schema*, as far as it says so in plain words."""
    said = schema if isinstance(schema, Mapping) else {}
    for name in ("examples", "enum"):
        if isinstance(said.get(name), list) and said[name]:
            return said[name][0]
    for name in ("const", "default"):
        if name in said:
            return said[name]
    kind = said.get("type")
    return _EXAMPLES.get(kind if isinstance(kind, str) else None, "...")


def _written(function: Mapping[str, Any]) -> str:
    arguments = json.dumps(function.get("arguments", {}), ensure_ascii=False)
    return f"{OPEN}{function.get('name')}{NAMED}{arguments}{CLOSE}"
