"""Options: the fields of a settings value, as command lines and the environment write them.

A field is declared once: its name, type, default and docstring make an option of the command line
(``--default-timeout-s``), a variable (``PENSTOCK_DEFAULT_TIMEOUT_S``) and a line of help. An option
wins over its variable, which wins over the default. Nonsense is refused by both names (`load`).
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from penstock.errors import InvalidConfiguration
from penstock.process.redaction import redacted
from penstock.process.variables import PREFIX, own_variables


class Metavar(NamedTuple):
    """What help calls the value of an option: FILE, URL; a switch that has one takes a value."""

    text: str


class Options(BaseModel):
    """A value whose fields are options."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        use_attribute_docstrings=True,
        # Help shows the fields, and needs no validators.
        defer_build=True,
    )


S = TypeVar("S", bound=Options)


def load(kind: type[S], **options: Any) -> S:
    """The settings of a role; an option of None, or an empty list, was not given.

    Raises:
        InvalidConfiguration: naming the option and the variable that cannot be.
    """
    environment = own_variables(os.environ)
    values = {
        name: environment[variable(name)]
        for name in kind.model_fields
        if variable(name) in environment
    }
    values |= {name: value for name, value in options.items() if value not in (None, [])}
    try:
        return kind(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"{_names(problem['loc'])}: {_reason(problem)}" for problem in error.errors()
        )
        raise InvalidConfiguration(problems) from None


def command_line(kind: type[Options], values: Mapping[str, Any]) -> list[str]:
    """The words that give *values* to a command with the options of *kind*.

    What *kind* has no option for, and None, is left out; so are secrets, which go by the
    environment.
    """
    return [
        word
        for name in own_first(kind)
        if values.get(name) is not None and kind.model_fields[name].repr
        for word in _words(name, kind.model_fields[name], values[name])
    ]


def own_first(kind: type[Options]) -> list[str]:
    """The fields of *kind*: those of the class itself before those of its bases."""
    names = (name for base in kind.__mro__ for name in vars(base).get("__annotations__", ()))
    return list(dict.fromkeys(name for name in names if name in kind.model_fields))


def is_switch(field: FieldInfo) -> bool:
    """Whether an option says yes by being there, and takes no value."""
    return field.annotation is bool and not any(isinstance(n, Metavar) for n in field.metadata)


def switch(name: str, field: FieldInfo) -> str:
    """The option that says yes, and where yes is the default "/" and the one that says no."""
    return f"{flag(name)}/{flag(f'no_{name}')}" if field.default else flag(name)


def flag(name: str) -> str:
    """The option of the field *name*."""
    return f"--{name.replace('_', '-')}"


def _words(name: str, field: FieldInfo, value: Any) -> Iterator[str]:
    if is_switch(field):
        if value or field.default:
            yield flag(name if value else f"no_{name}")
        return
    for one in value if isinstance(value, tuple) else (value,):
        yield f"{flag(name)}={one.absolute() if isinstance(one, Path) else one}"


def variable(name: str) -> str:
    """The variable of the field *name*."""
    return f"{PREFIX}{name.upper()}"


def _names(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "settings"
    return f"{flag(name)} ({variable(name)})"


def _reason(problem: ErrorDetails) -> str:
    if problem["type"] == "missing":
        return "is required"
    return redacted(f"{problem['msg']}, not {problem['input']!r}")
