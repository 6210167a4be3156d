"""Strict schemas: which objects are closed, and which say themselves what else they may have."""

import pytest

from penstock.language.grammar.schemas import closed

A = {"properties": {"a": {"type": "string"}}}
A_CLOSED = {**A, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (A, A_CLOSED),
        ({"properties": {"x": A}}, {"properties": {"x": A_CLOSED}, "additionalProperties": False}),
        ({"$defs": {"x": A}, "$ref": "#/$defs/x"}, {"$defs": {"x": A_CLOSED}, "$ref": "#/$defs/x"}),
        ({"type": "array", "items": A}, {"type": "array", "items": A_CLOSED}),
        ({"anyOf": [A, {"type": "null"}]}, {"anyOf": [A_CLOSED, {"type": "null"}]}),
        ({"additionalProperties": A}, {"additionalProperties": A_CLOSED}),
    ],
)
def test_objects_that_name_their_properties_have_no_others(schema, expected):
    assert closed(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {**A, "additionalProperties": True},
        {**A, "additionalProperties": {"type": "number"}},
        {**A, "patternProperties": {"^b": {}}},
        {"allOf": [A, {"properties": {"b": {}}}]},
        {"type": "object"},
        {"enum": [A], "const": A, "default": A},
        {"properties": {"properties": {"type": "string"}}, "additionalProperties": True},
        True,
    ],
)
def test_what_a_schema_says_itself_stays(schema):
    assert closed(schema) == schema
