"""Commands on settings: their options are the fields, with the help and defaults of these."""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from penstock.cli.ask.channel import VARIABLES
from penstock.options import Metavar, Options, flag, is_switch, load, own_first, switch, variable
from penstock.process.variables import own_variables, unknown_variables
from penstock.settings import RoleSettings

S = TypeVar("S", bound=Options)

_OWN: Final = (
    "PENSTOCK_READY_FILE",
    "PENSTOCK_PARENT_PID",
    "PENSTOCK_SHARED_PORT",
    "PENSTOCK_HEARTBEAT_FD",
)
"""Facts of one process alone: what it starts must not take them over."""

_FIRST: Final = ("models", "redis", "host", "port")
_TYPES: Final = (bool, int, float, str, Path)
_MIB: Final = 1024**2


def on_settings(kind: type[S]) -> Callable[[Callable[[S], None]], Callable[..., None]]:
    """A function on *kind*, as a command whose options are the fields of *kind*."""

    def made(run: Callable[[S], None]) -> Callable[..., None]:
        @functools.wraps(run)
        def command(**options: Any) -> None:
            settings = load(kind, **options)
            _warn_of_unknown(settings)
            for name in _OWN:
                os.environ.pop(name, None)
            run(settings)

        parameters = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
            for name, option in _options(kind)
        ]
        vars(command)["__signature__"] = inspect.Signature(parameters)
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        return command

    return made


def _warn_of_unknown(settings: Options) -> None:
    """Say which variables mean nothing; once for all roles that one process starts."""
    if getattr(settings, "parent_pid", None) is None:
        known = {variable(name) for kind in _all_kinds(Options) for name in kind.model_fields}
        for line in unknown_variables(own_variables(os.environ), known | {*VARIABLES}):
            print(line, file=sys.stderr)


def _all_kinds(kind: type[Options]) -> Iterator[type[Options]]:
    for one in kind.__subclasses__():
        yield one
        yield from _all_kinds(one)


def _options(kind: type[Options]) -> Iterator[tuple[str, Any]]:
    """Each field, and its option as typer takes it; what all roles have comes last."""
    hints = get_type_hints(kind, include_extras=True)
    names = sorted(
        own_first(kind), key=lambda name: (name not in _FIRST, name in RoleSettings.model_fields)
    )
    for name in names:
        field, parts = kind.model_fields[name], list(_parts(hints[name]))
        option = typer.Option(
            switch(name, field) if is_switch(field) else flag(name),
            help=_help(field),
            metavar=next((part.text for part in parts if isinstance(part, Metavar)), None),
            show_default=False,
        )
        yield name, Annotated[_value(field, parts) | None, option]


def _parts(hint: Any) -> Iterator[Any]:
    """What the type *hint* is made of, its annotations included."""
    yield hint
    for part in get_args(hint):
        yield from _parts(part)


def _value(field: FieldInfo, parts: list[Any]) -> Any:
    """The type that typer asks for; the settings check a value further."""
    plain: Any = next((part for part in parts if part in _TYPES), str)
    if plain is bool and not is_switch(field):
        plain = str
    return list[plain] if any(get_origin(part) is tuple for part in parts) else plain


def _help(field: FieldInfo) -> str:
    text = " ".join((field.description or "").split())
    default = _shown(field)
    return text if "(default:" in text or not default else f"{text} (default: {default})"


def _shown(field: FieldInfo) -> str:
    default = field.default
    if isinstance(default, bool):
        return ("yes" if default else "no") if is_switch(field) else str(default).lower()
    if isinstance(default, tuple):
        return ":".join(map(str, default))
    if Metavar("BYTES") in field.metadata:
        return f"{default // _MIB} MiB"
    if field.is_required() or default is None:
        return ""
    return str(default).removesuffix(".0")
