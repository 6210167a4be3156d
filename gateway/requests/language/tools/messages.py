"""Messages about tools: the calls of earlier answers, and what these brought, as a body has them.

Pure.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from penstock.gateway.requests.language.fields import FieldRefused

MOST_CALLS: Final = 128


def calls_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """The calls of a message, as chat templates want these: arguments as objects; {} for none.

    Raises:
        FieldRefused: there is one that is none.
    """
    calls = message.get("tool_calls")
    if not calls:
        return {}
    if not isinstance(calls, list) or len(calls) > MOST_CALLS:
        raise FieldRefused("messages", f"tool_calls must be a list of at most {MOST_CALLS} calls")
    return {"tool_calls": [_call(one) for one in calls]}


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    said = function if isinstance(function, dict) else {}
    name, arguments = said.get("name"), said.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise FieldRefused(
            "messages", "each of tool_calls must have a function with a name, and arguments as text"
        )
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        found = arguments
    return {**call, "function": {**said, "arguments": found}}
