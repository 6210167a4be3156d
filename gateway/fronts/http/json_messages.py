"""Messages of the protocol as JSON, with the names and forms that Triton gives them.

Numbers of 64 bits are numbers, not texts as protobuf's own JSON has them; fields that are not set
are there with their defaults, as clients look for them.
"""

import base64
import json
import re
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from penstock.errors import InvalidRequest

LONGEST: Final = 8 << 20
"""Bytes of JSON that are parsed: its numbers take some ten times as many in memory, and the
interpreter does nothing else meanwhile, a tenth of a second at most. Longer JSON may have long
texts, such as files, but no more than `MOST_VALUES`.
"""

MOST_VALUES: Final = 1 << 16

MOST_LISTS: Final = 1 << 17
"""Lists and objects in JSON that is parsed: the collector looks at each, again and again."""

_LESS: Final = "send tensors as binary data, or several requests"

_HALVES: Final = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"\\u[dD][89abAB](?!..\\u[dD][c-fC-F])",
        rb"\\u[dD][c-fC-F](?<!\\u[dD][89abAB]..\\u[dD][c-fC-F])",
        rb"\xed[\xa0-\xbf]",
    )
]
"""What looks like half of a character that JSON writes as two; the last is no UTF-8 either. Each
begins with bytes that are looked for, which takes a tenth of the time of one expression for all.
"""


def as_json(message: Any) -> dict[str, Any]:
    """*message* as an object of JSON."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def parsed(body: bytes | memoryview) -> Any:
    """What *body* says.

    Raises:
        InvalidRequest: it is no JSON, or longer than JSON may be.
    """
    text = bytes(body)
    lists = text.count(b"[") + text.count(b"{")
    if lists > MOST_LISTS:
        raise InvalidRequest(
            f"the request's JSON has {lists} lists and objects, and may have {MOST_LISTS}: {_LESS}"
        )
    if len(text) > LONGEST and lists + text.count(b",") > MOST_VALUES:
        raise InvalidRequest(
            f"the request's JSON has {len(text)} bytes, and may have {LONGEST}: {_LESS}"
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"failed to parse the request JSON buffer: {error}") from error


def parsed_object(body: bytes | memoryview) -> dict[str, Any]:
    """What *body*, an object or nothing, says.

    Raises:
        InvalidRequest: it is no object of JSON.
    """
    if not body:
        return {}
    found = parsed(body)
    if not isinstance(found, dict):
        raise InvalidRequest("the request's JSON must be an object")
    if any(half.search(body) for half in _HALVES):
        _check_whole(found)
    return found


def wrong_kind(name: str, kind: str) -> InvalidRequest:
    """What is told of a field that is of another *kind*, in Triton's words."""
    return InvalidRequest(f"Unable to parse '{name}': attempt to access JSON non-{kind} as {kind}")


def _check_whole(found: dict[str, Any]) -> None:
    """Refuse half a character; a backslash that is escaped itself looks like one."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            "the request's JSON has half a character, a surrogate without the other: remove it"
        ) from error


def dumped(value: Any) -> bytes:
    """*value* as JSON, without blanks."""
    return json.dumps(value, separators=(",", ":")).encode()


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of = field.message_type.fields_by_name["value"]
        return {str(key): _one(of)(value[key]) for key in value}
    one = _one(field)
    return [one(element) for element in value] if field.is_repeated else one(value)


def _one(field: Any) -> Callable[[Any], Any]:
    if field.message_type is not None:
        return as_json
    if field.enum_type is not None:
        names = field.enum_type.values_by_number
        return lambda number: names[number].name if number in names else number
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    return lambda value: value
