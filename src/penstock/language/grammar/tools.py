"""Tool calls: what an answer must be that calls functions, and may say something besides. Pure.

A call is written as Hermes and Qwen write it, and as other models are told to:

<tool_call>
{"name": "...", "arguments": {...}}
</tool_call>
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from penstock.language.grammar.grammars import json_options
from penstock.language.grammar.structure import Kind, Structure

TAG: Final = "<tool_call>"
OPEN: Final = f'{TAG}\n{{"name": "'
NAMED: Final = '", "arguments": '
CLOSE: Final = "}\n</tool_call>"
"""A call is OPEN, its function's name, NAMED, its arguments, an object, and CLOSE."""

BETWEEN: Final = "\n"


class Function(NamedTuple):
    """A function that may be called.

    Attributes:
        parameters: the JSON schema of its arguments, of an object.
        strict: keywords of it that are not known are refused.
    """

    name: str
    parameters: Mapping[str, Any]
    strict: bool


def call_structure(
    functions: Sequence[Function],
    *,
    needed: bool,
    several: bool,
    answer: Mapping[str, Any] | None = None,
) -> Structure:
    """An answer that calls some of *functions*.

    Args:
        needed: it calls one at least, and says nothing else.
        several: it may call more than one.
        answer: a JSON schema, as `schema_of` has it, for what it says where it calls none; None for
            any text, which calls may stand behind.
    """
    calls = f"call ({json.dumps(BETWEEN)} call)*" if several else "call"
    rules = [
        f"call: {json.dumps(TAG)} body",
        f"body: {json.dumps(OPEN[len(TAG) :])} ({_any(functions)}) {json.dumps(CLOSE)}",
    ]
    for number, function in enumerate(functions):
        schema = json.dumps(schema_of(function.parameters, strict=function.strict))
        rules += [
            f"f{number}: {json.dumps(function.name + NAMED)} a{number}",
            f"a{number}: %json {schema}",
        ]
    if needed:
        rules.append(f"start: {calls}")
    elif answer is not None:
        rules += [f"start: {calls} | answer", f"answer: %json {json.dumps(answer)}"]
    else:
        rules += [
            f"start: {'spoken* rest' if several else 'spoken | rest'}",
            "spoken: open body",
            f"open[lazy]: TEXT {json.dumps(TAG)}",
            "rest: TEXT",
            "TEXT: /(?s:.*)/",
        ]
    return Structure(Kind.GRAMMAR, "\n".join(rules))


def schema_of(schema: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    """*schema* as it stands in a grammar."""
    return {"x-guidance": json_options(lenient=not strict), **schema}


def _any(functions: Sequence[Function]) -> str:
    return " | ".join(f"f{number}" for number in range(len(functions)))
