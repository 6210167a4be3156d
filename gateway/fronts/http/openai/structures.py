"""What a body says of an answer's structure: ``response_format``, or vLLM's fields."""

from collections.abc import Mapping
from typing import Any, Final

from penstock.errors import InvalidRequest
from penstock.gateway.requests.language.fields import AskedStructure, FieldRefused
from penstock.gateway.requests.language.languages import Language
from penstock.language.grammar.checks import StructureRefused
from penstock.language.grammar.schemas import closed
from penstock.language.grammar.structure import Structure

OPTION: Final = "structured_outputs"

_OLDER: Final = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}
"""Fields of vLLM before 0.12 -> what `OPTION` has instead."""

FIELDS: Final = frozenset({"response_format", OPTION, *_OLDER})

_FORMATS: Final = ("text", "json_object", "json_schema")


def structure_of(body: Mapping[str, Any]) -> AskedStructure | None:
    """The structure that *body* asks for, if it asks for one.

    Raises:
        FieldRefused: it asks for what cannot be, or for two.
    """
    given = {name: body[name] for name in sorted(FIELDS) if body.get(name) is not None}
    found = [one for one in map(_read, given, given.values()) if one is not None]
    if len(found) > 1:
        raise FieldRefused(
            found[1].field, f"{found[0].field} and {found[1].field} cannot be together: remove one"
        )
    if found and body.get("ignore_eos"):
        raise FieldRefused(
            "ignore_eos", f"ignore_eos cannot be together with {found[0].field}: remove one"
        )
    return found[0] if found else None


def format_of(field: str, given: Any, schema: Mapping[str, Any] | None) -> AskedStructure | None:
    """The structure of a format, as *field* gives it; None for any text.

    Args:
        schema: what has ``schema`` and ``strict`` where it is "json_schema".

    Raises:
        FieldRefused: it is none.
    """
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind not in _FORMATS:
        raise FieldRefused(field, f"{field} must have a type: {', '.join(_FORMATS)}")
    if kind == "text":
        return None
    if kind == "json_object":
        return _structure(field, {"json_object": True})
    if not isinstance(schema, Mapping) or not isinstance(schema.get("schema"), Mapping):
        raise FieldRefused(field, f"{field} must have a JSON schema, an object, as 'schema'")
    strict = schema.get("strict")
    if not isinstance(strict, bool | None):
        raise FieldRefused(field, f"strict of {field} must be true or false")
    wanted = schema["schema"]
    if strict:
        try:
            wanted = closed(wanted)
        except RecursionError:
            raise FieldRefused(field, f"{field} is nested too deeply") from None
    return _structure(field, {"json": wanted, "lenient": not strict})


async def checked(language: Language, asked: AskedStructure | None) -> None:
    """Whether an answer can have the structure that is *asked* for.

    Raises:
        FieldRefused: it cannot; names the field.
    """
    if asked is None:
        return
    try:
        await language.check(asked.structure)
    except StructureRefused as error:
        raise FieldRefused(asked.field, f"{asked.field}: {error}") from None


def _read(field: str, value: Any) -> AskedStructure | None:
    if field == "response_format":
        schema = value.get("json_schema") if isinstance(value, Mapping) else None
        return format_of(field, value, schema)
    return _structure(field, value if field == OPTION else {_OLDER[field]: value})


def _structure(field: str, option: Any) -> AskedStructure:
    try:
        return AskedStructure(field, Structure.of(field, option))
    except InvalidRequest as error:
        raise FieldRefused(field, str(error)) from None
