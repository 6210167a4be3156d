"""Structures: what the text of an answer must be, as a request says it. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from penstock.errors import InvalidRequest

MOST_TEXT: Final = 64 << 10
"""Bytes of a schema, an expression or a grammar."""

MOST_CHOICES: Final = 1024


class Kind(StrEnum):
    """What a structure is said with, in the words of vLLM's ``structured_outputs``."""

    JSON = "json"
    REGEX = "regex"
    GRAMMAR = "grammar"


_KINDS: Final = (*Kind, "json_object", "choice")
_LENIENT: Final = "lenient"


@dataclass(frozen=True, slots=True)
class Structure:
    """What the text of an answer must be.

    Attributes:
        text: a JSON schema, a regular expression, or a grammar as llguidance writes Lark's.
        lenient: keywords of a schema that are not known are passed over.
    """

    kind: Kind
    text: str
    lenient: bool = False

    @classmethod
    def of(cls, name: str, given: Any) -> Self:
        """The structure that the option *name* asks for.

        Args:
            given: what `to_option` writes, or a ``choice`` of texts, or any ``json_object``.

        Raises:
            InvalidRequest: it is none.
        """
        said = dict(given) if isinstance(given, Mapping) else {}
        lenient = said.pop(_LENIENT, False)
        said = {kind: value for kind, value in said.items() if value is not None}
        if len(said) != 1 or not set(said) <= set(_KINDS) or not isinstance(lenient, bool):
            raise InvalidRequest(f"{name} must be an object with one of {', '.join(_KINDS)}")
        ((kind, value),) = said.items()
        return cls(*_read(f"{name}.{kind}", kind, value), lenient)

    def to_option(self) -> dict[str, Any]:
        """What `of` reads."""
        return {self.kind.value: self.text, **({_LENIENT: True} if self.lenient else {})}


def _read(name: str, kind: str, value: Any) -> tuple[Kind, str]:
    if kind == "json_object":
        if value is not True:
            raise InvalidRequest(f"{name} must be true")
        return Kind.JSON, '{"type": "object"}'
    if kind == "choice":
        return Kind.GRAMMAR, _sized(name, _choice(name, value))
    if kind == Kind.JSON:
        return Kind.JSON, _sized(name, _schema(name, value))
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{name} must be a text")
    return Kind(kind), _sized(name, value)


def _schema(name: str, value: Any) -> str:
    try:
        if isinstance(value, Mapping):
            return json.dumps(value, ensure_ascii=False)
        schema = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{name} must be a JSON schema, an object")
    return str(value)


def _choice(name: str, value: Any) -> str:
    """A grammar of *value*, texts of which the answer is one."""
    fits = isinstance(value, list) and 0 < len(value) <= MOST_CHOICES
    if not fits or not all(isinstance(one, str) and one for one in value):
        raise InvalidRequest(f"{name} must be a list of 1 to {MOST_CHOICES} texts")
    return "start: " + " | ".join(map(json.dumps, value))


def _sized(name: str, text: str) -> str:
    if len(text.encode(errors="replace")) > MOST_TEXT:
        raise InvalidRequest(f"{name} has more than {MOST_TEXT >> 10} KiB: make it smaller")
    return text
