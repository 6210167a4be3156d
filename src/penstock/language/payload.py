"""Options on their way from a gateway to a worker: what is not the default, as JSON."""

import json
from dataclasses import fields
from typing import Any, Final

from penstock.errors import InvalidRequest
from penstock.language.grammar.structure import Structure
from penstock.language.options import DecodingOptions

OPTIONS: Final = "penstock_decoding"
"""The parameter of a job's request that has them."""

CALLER: Final = "penstock_caller"
"""Another one: whose the job is. What is computed for it is of use to no other caller's."""

CACHED_TOKENS: Final = "cached_tokens"
"""A parameter of the reply: tokens of the prompt that had been computed for an answer before."""

ENDED: Final = "penstock_ended"
"""Another one: when the answer ended, in seconds since 1970."""

CANCELLED: Final = "penstock_cancelled"
"""Another one: it ended because its client wanted no more of it."""

_TEXT_ONLY: Final = ("stop",)
"""What only gateways need, since they make text from tokens."""


def options_to_json(options: DecodingOptions, *, whole: bool = False) -> str:
    """What a worker needs of *options*; the *whole* of them for another gateway."""
    given = {
        field.name: value
        for field in fields(options)
        if (whole or field.name not in _TEXT_ONLY)
        and (value := getattr(options, field.name)) != getattr(_DEFAULT, field.name)
    }
    return json.dumps({name: _as_json(value) for name, value in given.items()})


def _as_json(value: Any) -> Any:
    if isinstance(value, Structure):
        return value.to_option()
    return sorted(value) if isinstance(value, frozenset) else value


def options_from_json(text: str) -> DecodingOptions:
    """The options that a gateway sent.

    Raises:
        InvalidRequest: it sent none that can be.
    """
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InvalidRequest("the job's options cannot be read") from error
    return DecodingOptions.of(given)


_DEFAULT: Final = DecodingOptions()
