"""Which functions a body lets an answer call: ``tools``, ``tool_choice`` and what goes with them.

Pure.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from penstock.errors import InvalidRequest
from penstock.gateway.requests.language.fields import AskedStructure, FieldRefused
from penstock.language.grammar.schemas import closed
from penstock.language.grammar.structure import Kind, Structure
from penstock.language.grammar.tools import Function, call_structure, schema_of

FIELDS: Final = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
MOST_TOOLS: Final = 128

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_CHOICES: Final = ("none", "auto", "required")
_NO_ARGUMENTS: Final = {"type": "object", "properties": {}, "additionalProperties": False}


class Form(NamedTuple):
    """How an API writes functions.

    Attributes:
        inner: where in a tool its function is; empty where it is the tool itself.
        choice: how one of them is chosen.
    """

    inner: str
    choice: str


CHATS: Final = Form("function", '{"type": "function", "function": {"name": ...}}')
RESPONSES: Final = Form("", '{"type": "function", "name": ...}')


class AskedTools(NamedTuple):
    """The functions that an answer may call.

    Attributes:
        given: what the model is told of, as chats have it.
        structure: what the answer must be.
    """

    given: list[dict[str, Any]]
    structure: AskedStructure


def tools_of(
    body: Mapping[str, Any], answer: AskedStructure | None, form: Form = CHATS
) -> AskedTools | None:
    """The functions that *body* lets an answer call; None for none of them.

    Args:
        answer: what an answer must be that calls none.

    Raises:
        FieldRefused: names the field that cannot be so.
    """
    tools, choice = body.get("tools") or [], body.get("tool_choice")
    several = body.get("parallel_tool_calls")
    if not isinstance(several, bool | None):
        raise FieldRefused("parallel_tool_calls", "parallel_tool_calls must be true or false")
    if not isinstance(tools, list) or len(tools) > MOST_TOOLS:
        raise FieldRefused("tools", f"tools must be a list of at most {MOST_TOOLS} functions")
    given = [_inner(number, tool, form) for number, tool in enumerate(tools)]
    functions = [_function(at, function, form) for at, function in given]
    names = [function.name for function in functions]
    if len(set(names)) < len(names):
        raise FieldRefused("tools", "tools has two functions of the same name")
    wanted, needed = _choice(choice, names, form)
    if not wanted:
        return None
    if body.get("ignore_eos"):
        raise FieldRefused("ignore_eos", "ignore_eos cannot be together with tools: remove one")
    called = [function for function in functions if function.name in wanted]
    # One that is named is called once.
    several = several is not False and not isinstance(choice, dict)
    structure = _structure(called, answer, needed=needed, several=several)
    shown = [{"type": "function", "function": function} for _, function in given]
    return AskedTools(shown, AskedStructure("tools", structure))


def _structure(
    functions: list[Function], answer: AskedStructure | None, *, needed: bool, several: bool
) -> Structure:
    schema = None
    if answer is not None and not needed:
        kind, text, lenient = answer.structure.kind, answer.structure.text, answer.structure.lenient
        if kind is not Kind.JSON:
            raise FieldRefused(answer.field, f"{answer.field} cannot be together with tools")
        schema = schema_of(json.loads(text), strict=not lenient)
    try:
        made = call_structure(functions, needed=needed, several=several, answer=schema)
        return Structure.of("tools", made.to_option())
    except (InvalidRequest, RecursionError):
        raise FieldRefused(
            "tools", "tools have more than 64 KiB, or are nested too deeply: make them smaller"
        ) from None


def _choice(choice: Any, names: list[str], form: Form) -> tuple[list[str], bool]:
    """Which functions may be called, and whether one must be."""
    if isinstance(choice, dict):
        function = choice.get(form.inner) if form.inner else choice
        name = function.get("name") if isinstance(function, dict) else None
        if choice.get("type") != "function" or name not in names:
            raise FieldRefused(
                "tool_choice",
                f"tool_choice must be {form.choice}, of one in tools",
            )
        return [name], True
    if choice is not None and choice not in _CHOICES:
        raise FieldRefused(
            "tool_choice", f"tool_choice must be {', '.join(_CHOICES)}, or name a function"
        )
    if choice == "required" and not names:
        raise FieldRefused("tool_choice", "tool_choice is 'required', and there are no tools")
    return [] if choice == "none" else names, choice == "required"


def _inner(number: int, tool: Any, form: Form) -> tuple[str, dict[str, Any]]:
    """Where a tool's function is, and the function."""
    at = f"tools[{number}]"
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise FieldRefused("tools", f"{at} must be of type 'function': there are no others")
    if not form.inner:
        return at, {name: value for name, value in tool.items() if name != "type"}
    function = tool.get(form.inner)
    if not isinstance(function, dict):
        raise FieldRefused("tools", f"{at}.{form.inner} must be an object")
    return f"{at}.{form.inner}", function


def _function(at: str, function: Mapping[str, Any], form: Form) -> Function:
    name, strict = function.get("name"), function.get("strict")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise FieldRefused("tools", f"{at}.name must be 1 to 64 letters, digits, '_' and '-'")
    if not isinstance(strict, bool | None):
        raise FieldRefused("tools", f"{at}.strict must be true or false")
    parameters = function.get("parameters")
    if parameters is None:
        parameters = _NO_ARGUMENTS
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        raise FieldRefused("tools", f"{at}.parameters must be a JSON schema of type 'object'")
    # The Responses API takes functions to be strict that say nothing; here not all keywords are.
    if strict or (strict is None and form is RESPONSES):
        try:
            parameters = closed(parameters)
        except RecursionError:
            raise FieldRefused("tools", "tools are nested too deeply: make them smaller") from None
    return Function(name, {"type": "object", **parameters}, bool(strict))
