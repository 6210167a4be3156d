"""Which functions a body lets an answer call: ``tools``, ``tool_choice`` and what goes with them.

Pure.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from penstock.errors import InvalidRequest
from penstock.gateway.fronts.http.openai.fields import FieldRefused
from penstock.gateway.fronts.http.openai.structures import AskedStructure
from penstock.language.grammar.structure import Kind, Structure
from penstock.language.grammar.tools import Function, call_structure, schema_of

FIELDS: Final = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
MOST_TOOLS: Final = 128

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_CHOICES: Final = ("none", "auto", "required")
_NO_ARGUMENTS: Final = {"type": "object", "properties": {}, "additionalProperties": False}


class AskedTools(NamedTuple):
    """The functions that an answer may call.

    Attributes:
        given: what the model is told of, as the body has them.
        structure: what the answer must be.
    """

    given: list[dict[str, Any]]
    structure: AskedStructure


def tools_of(body: Mapping[str, Any], answer: AskedStructure | None) -> AskedTools | None:
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
    functions = [_function(number, tool) for number, tool in enumerate(tools)]
    names = [function.name for function in functions]
    if len(set(names)) < len(names):
        raise FieldRefused("tools", "tools has two functions of the same name")
    wanted, needed = _choice(choice, names)
    if not wanted:
        return None
    if body.get("ignore_eos"):
        raise FieldRefused("ignore_eos", "ignore_eos cannot be together with tools: remove one")
    called = [function for function in functions if function.name in wanted]
    # One that is named is called once.
    several = several is not False and not isinstance(choice, dict)
    structure = _structure(called, answer, needed=needed, several=several)
    return AskedTools(tools, AskedStructure("tools", structure))


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


def _choice(choice: Any, names: list[str]) -> tuple[list[str], bool]:
    """Which functions may be called, and whether one must be."""
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if choice.get("type") != "function" or name not in names:
            raise FieldRefused(
                "tool_choice",
                'tool_choice must be {"type": "function", "function": {"name": ...}}, of one in '
                "tools",
            )
        return [name], True
    if choice is not None and choice not in _CHOICES:
        raise FieldRefused(
            "tool_choice", f"tool_choice must be {', '.join(_CHOICES)}, or name a function"
        )
    if choice == "required" and not names:
        raise FieldRefused("tool_choice", "tool_choice is 'required', and there are no tools")
    return [] if choice == "none" else names, choice == "required"


def _function(number: int, tool: Any) -> Function:
    at = f"tools[{number}]"
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise FieldRefused("tools", f"{at} must be of type 'function': there are no others")
    function = tool.get("function")
    if not isinstance(function, dict):
        raise FieldRefused("tools", f"{at}.function must be an object")
    name, strict = function.get("name"), function.get("strict")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise FieldRefused(
            "tools", f"{at}.function.name must be 1 to 64 letters, digits, '_' and '-'"
        )
    if not isinstance(strict, bool | None):
        raise FieldRefused("tools", f"{at}.function.strict must be true or false")
    parameters = function.get("parameters")
    if parameters is None:
        parameters = _NO_ARGUMENTS
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        raise FieldRefused(
            "tools", f"{at}.function.parameters must be a JSON schema of type 'object'"
        )
    return Function(name, {"type": "object", **parameters}, bool(strict))
