"""Schemas: what is strict of a JSON schema. Pure."""

from collections.abc import Mapping
from typing import Any, Final

_OF_NAMES: Final = frozenset({"properties", "$defs", "definitions"})
_OF_SCHEMAS: Final = frozenset({"anyOf", "oneOf", "prefixItems"})
_ONE: Final = frozenset({"items", "additionalProperties"})
_SAY_WHAT_ELSE: Final = frozenset(
    {"additionalProperties", "unevaluatedProperties", "patternProperties", "allOf", "$ref"}
)
"""Where one of these is, what other properties there may be is said, or cannot be told."""


def closed(schema: Any) -> Any:
    """*schema*, whose objects have no other properties than those that it names.

    Where it says itself which others there may be, it stays so. A grammar lets models invent
    properties that a schema does not forbid.

    Raises:
        RecursionError: it is nested too deeply.
    """
    if not isinstance(schema, Mapping):
        return schema
    found = {name: _closed_inside(name, value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), Mapping) and not _SAY_WHAT_ELSE & set(schema):
        found["additionalProperties"] = False
    return found


def _closed_inside(name: str, value: Any) -> Any:
    if name in _OF_NAMES and isinstance(value, Mapping):
        return {key: closed(inner) for key, inner in value.items()}
    if name in _OF_SCHEMAS and isinstance(value, list):
        return [closed(inner) for inner in value]
    return closed(value) if name in _ONE else value
