"""The caller: whose request it is, and what those may. Pure."""

import re
from collections.abc import Iterable
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache
from math import inf
from time import time
from typing import Final

from penstock.errors import PermissionDenied, Unauthenticated

EVERY_MODEL: Final = ("*",)


class Scope(StrEnum):
    """What a caller may do; none of them contains another.

    INFER: ask models. READ: see what there is and how it does. LOAD: load and unload. ADMIN: all
    that concerns everybody: dead letters, logs, traces, shared memory.
    """

    INFER = "infer"
    READ = "read"
    LOAD = "load"
    ADMIN = "admin"


class Caller:
    """Whoever has shown a credential; the same object for as long as that is good.

    Attributes:
        name: of the team: what belongs to callers of one name is no secret among them. Empty where
            nobody was asked for a credential.
        key: the id of the key that was shown.
        scopes: what the caller may do.
        models: globs of the models that the caller may use.
        expires_s: seconds since 1970; when the credential stops being good.
        ended: why it is good no more, for streams that go on; empty while it is.
    """

    __slots__ = ("_matches", "ended", "expires_s", "key", "models", "name", "scopes")

    def __init__(
        self,
        name: str = "",
        key: str = "",
        scopes: Iterable[Scope] = tuple(Scope),
        models: Iterable[str] = EVERY_MODEL,
        expires_s: float = inf,
    ) -> None:
        self.name = name
        self.key = key
        self.scopes = frozenset(scopes)
        self.models = tuple(models)
        self.expires_s = expires_s
        self.ended = ""
        self._matches = None if "*" in self.models else _pattern(self.models).fullmatch

    def __repr__(self) -> str:
        return f"Caller({self.name or 'anybody'}, key {self.key or 'none'})"

    @property
    def fields(self) -> dict[str, str]:
        """As lines of logs have the caller; nothing of one who needs no key."""
        return {"caller": self.name, "key": self.key} if self.name else {}

    @property
    def sees_all(self) -> bool:
        """Whether the caller may use every model."""
        return self._matches is None

    def may_use(self, model: str) -> bool:
        """Whether the caller may use *model*, whether or not it exists."""
        return self._matches is None or self._matches(model) is not None

    def check_model(self, model: str) -> None:
        """Refuse a model that is not the caller's, and all models once the credential has ended.

        Raises:
            PermissionDenied, Unauthenticated: with what to do.
        """
        if self.ended or (self.expires_s != inf and time() > self.expires_s):
            raise Unauthenticated(self.ended or EXPIRED)
        if self._matches is not None and self._matches(model) is None:
            raise PermissionDenied(
                f"the key {self.key} of {self.name} is not for the model '{model}': "
                f"it is for {', '.join(self.models) or 'none'}"
            )

    def check_all(self) -> None:
        """Refuse what shows all models to a caller who may not use all.

        Raises:
            PermissionDenied: with what to do.
        """
        if not self.sees_all:
            raise PermissionDenied(
                f"this is about all models, and the key {self.key} of {self.name} is for "
                f"{', '.join(self.models) or 'none'}"
            )

    def check_scope(self, scope: Scope) -> None:
        """Refuse what needs a scope that the caller lacks.

        Raises:
            PermissionDenied: with what to do.
        """
        if scope not in self.scopes:
            raise PermissionDenied(
                f"this needs the scope '{scope}', and the key {self.key} of {self.name} has "
                f"{', '.join(sorted(self.scopes)) or 'none'}"
            )


EXPIRED: Final = "this key, or this secret of it, has expired: ask for another"

ANYBODY: Final = Caller()
"""Whoever calls a gateway that asks for no keys."""


@lru_cache(maxsize=4096)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    # Without globs nothing matches.
    return re.compile("|".join(f"(?:{translate(glob)})" for glob in globs) or r"(?!)")
