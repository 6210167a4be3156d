"""Lua scripts: one file, one atomic operation.

A script may begin its body with ``--@include NAME`` lines; each is replaced by ``lua/lib/NAME.lua``
when it is loaded, so that "a job ends" is written once.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Self

_INCLUDE = "--@include "


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the SHA-1 by which Redis knows it."""

    name: str
    source: str
    sha: str

    @classmethod
    def of(cls, name: str, source: str) -> Self:
        """The script with this *source*."""
        sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        return cls(name, source, sha)


@cache
def load(name: str) -> Script:
    """The script ``lua/<name>.lua``, with its includes in place."""
    return Script.of(name, _with_includes(_read(f"{name}.lua")))


def _with_includes(text: str) -> str:
    lines = (
        _read(f"lib/{line.removeprefix(_INCLUDE).strip()}.lua")
        if line.startswith(_INCLUDE)
        else line
        for line in text.splitlines()
    )
    return "\n".join(lines) + "\n"


def _read(path: str) -> str:
    return (resources.files("penstock.scheduler") / "lua" / path).read_text()
