"""Lua scripts: one file, one atomic operation; what several need is in libraries.

A line ``--@include NAME`` is replaced by ``lua/lib/NAME.lua`` when a script is loaded, unless that
is there already, and without what the script does not use: Redis makes all functions of a script
anew in each call. An indented one is within a function or a branch, and costs nothing unless that
runs. docs/add-a-script.md has the rest.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, NamedTuple, Self

_INCLUDE: Final = re.compile(r"( *)--@include (\w+)")
_PART: Final = re.compile(r"^(?=local |--@include )", re.MULTILINE)
_DEFINED: Final = re.compile(r"local (?:function )?([\w, ]+)")
_WORD: Final = re.compile(r"\w+")


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
    return Script.of(name, _resolved(_read(f"{name}.lua"), set()) + "\n")


class _Piece(NamedTuple):
    """Some lines, and the names that they define; those of a script itself define none."""

    names: frozenset[str]
    text: str


def _resolved(text: str, there: set[str]) -> str:
    """*text*, with what it uses of what it includes; the libraries *there* are around it."""
    pieces: list[_Piece] = []
    for line in text.splitlines():
        include = _INCLUDE.fullmatch(line)
        if include is None:
            pieces.append(_Piece(frozenset(), line))
        elif include[2] not in there:
            pieces += _library(include[2], set(there) if include[1] else there)
    kept: list[str] = []
    used: set[str] = set()
    for piece in reversed(pieces):
        if not piece.names or not used.isdisjoint(piece.names):
            used |= _words(piece.text)
            kept.append(piece.text)
    return "\n".join(reversed(kept))


def _library(name: str, there: set[str]) -> list[_Piece]:
    """The definitions of a library, after those of the libraries that it includes."""
    there.add(name)
    pieces: list[_Piece] = []
    for text in _PART.split(_read(f"lib/{name}.lua"))[1:]:
        include = _INCLUDE.match(text)
        if include is None:
            names = _WORD.findall(_DEFINED.findall(text)[0])
            inner = _resolved(text.rstrip(), there) if "--@include" in text else text.rstrip()
            pieces.append(_Piece(frozenset(names), inner))
        elif include[2] not in there:
            pieces += _library(include[2], there)
    return pieces


@cache
def _words(text: str) -> frozenset[str]:
    """The names that some lines use, and what else looks like one."""
    return frozenset(_WORD.findall(re.sub("--.*", "", text)))


@cache
def _read(path: str) -> str:
    return (resources.files("penstock.scheduler") / "lua" / path).read_text()
