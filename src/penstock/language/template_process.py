"""The process that renders chat templates: it may take bounded time and memory, and nothing else.

    python -m penstock.language.template_process

A template is a program of strangers. jinja2's sandbox keeps it from Python's objects; loops and
texts that grow without end are met by limits of the process, which ends with them. Each line in is
a JSON object with ``template`` and ``variables``; each line out has ``text`` or ``error``.
"""

import json
import resource
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

MOST_TEXT: Final = 4 << 20
"""Characters that a template may write."""

_MEMORY_BYTES: Final = 512 << 20
_MOST_ERROR: Final = 300


class _Refused(Exception):
    """The template refused its variables, or wrote too much."""


def _raise(message: object) -> None:
    raise _Refused(str(message)[:_MOST_ERROR])


def _now(form: str) -> str:
    return datetime.now(UTC).strftime(form[:64])


def _json(value: Any, indent: int | None = None) -> str:
    """Without the escapes that jinja2's own filter makes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


@lru_cache(maxsize=8)
def _compiled(source: str) -> Any:
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = _json
    environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
    return environment.from_string(source)


def render(source: str, variables: Mapping[str, Any]) -> str:
    """What the template writes; it stops a template that writes too much.

    Raises:
        Exception: whatever goes wrong in a template.
    """
    pieces: list[str] = []
    size = 0
    for piece in _compiled(source).generate(variables):
        size += len(piece)
        if size > MOST_TEXT:
            _raise(f"it writes more than {MOST_TEXT} characters")
        pieces.append(piece)
    return "".join(pieces)


def _answer(line: str) -> dict[str, str]:
    try:
        asked = json.loads(line)
        return {"text": render(asked["template"], asked["variables"])}
    except MemoryError:
        return {"error": "it needs too much memory"}
    except Exception as error:  # noqa: BLE001 - a template raises what it likes
        return {"error": f"{type(error).__name__.lstrip('_')}: {error}"[:_MOST_ERROR]}


def main() -> None:
    """Answer lines until there are no more."""
    import jinja2.sandbox  # noqa: F401 - before the limit, so that it is there

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # No template opens files; should one find a way, it can write nothing.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
