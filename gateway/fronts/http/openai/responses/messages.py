"""The conversation of a body of the Responses API: messages, calls, what these brought. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from penstock.gateway.fronts.http.openai.asked import MOST_MESSAGES
from penstock.gateway.requests.language.fields import FieldRefused
from penstock.gateway.requests.language.tools.messages import MOST_CALLS, calls_of

_TEXT_PARTS: Final = ("input_text", "output_text", "text")
_KINDS: Final = ("message", "function_call", "function_call_output")


def messages_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of a body, as chat templates want these.

    Raises:
        FieldRefused: names the field that cannot be so.
    """
    given, instructions = body.get("input"), body.get("instructions")
    if isinstance(given, str):
        messages = [{"role": "user", "content": given}]
    elif isinstance(given, list) and 0 < len(given) <= MOST_MESSAGES:
        messages = _joined(given)
    else:
        raise FieldRefused("input", f"input must be a text, or 1 to {MOST_MESSAGES} items")
    if instructions is None:
        return messages
    if not isinstance(instructions, str):
        raise FieldRefused("instructions", "instructions must be a text")
    return [{"role": "system", "content": instructions}, *messages]


def _joined(items: list[Any]) -> list[dict[str, Any]]:
    """One message for each item, but for calls, which are of the message before them."""
    found: list[dict[str, Any]] = []
    calling = False
    for item in items:
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind not in _KINDS:
            raise FieldRefused("input", f"input may have items of type {', '.join(_KINDS)} alone")
        if kind == "function_call":
            if not calling:
                found.append({"role": "assistant", "content": ""})
            _add_call(found[-1], item)
            calling = True
            continue
        found.append(_message(item) if kind == "message" else _output(item))
        calling = found[-1]["role"] == "assistant"
    return found


def _add_call(message: dict[str, Any], item: Mapping[str, Any]) -> None:
    function = {name: item.get(name) for name in ("name", "arguments")}
    call = {"id": item.get("call_id"), "type": "function", "function": function}
    try:
        made = calls_of({"tool_calls": [call]})["tool_calls"]
    except FieldRefused:
        raise FieldRefused(
            "input", "each function_call must have a name, and arguments as text"
        ) from None
    calls = [*message.get("tool_calls", ()), *made]
    if len(calls) > MOST_CALLS:
        raise FieldRefused("input", f"input may have {MOST_CALLS} calls one behind the other")
    message["tool_calls"] = calls


def _output(item: Mapping[str, Any]) -> dict[str, Any]:
    content = _text(item.get("output"))
    if not isinstance(content, str) or not isinstance(item.get("call_id"), str):
        raise FieldRefused(
            "input", "each function_call_output must have a call_id, and an output of text"
        )
    return {"role": "tool", "content": content, "tool_call_id": item["call_id"]}


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    role, content = item.get("role"), _text(item.get("content"))
    if not isinstance(role, str) or not isinstance(content, str):
        raise FieldRefused("input", "each message must have a role and a content of text")
    return {"role": "system" if role == "developer" else role, "content": content}


def _text(content: Any) -> Any:
    """A content as one text, if it is made of texts."""
    if not isinstance(content, list):
        return content
    if not all(isinstance(part, dict) and part.get("type") in _TEXT_PARTS for part in content):
        raise FieldRefused("input", "messages and outputs may have parts of text alone")
    return "".join(str(part.get("text", "")) for part in content)
