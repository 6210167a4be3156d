"""The types of settings: what their texts may be, and the values that these become."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from penstock.clock import LONGEST_MS
from penstock.errors import InvalidConfiguration
from penstock.options import Metavar, Options
from penstock.transport.store_files import StoreFiles, with_files


def _paths(value: object) -> object:
    """Several paths, from one text as in PATH, or from one path."""
    if isinstance(value, str):
        return [part for part in value.split(os.pathsep) if part]
    return [value] if isinstance(value, Path) else value


def _bare(value: object) -> object:
    """An IPv6 address without the brackets that it has in front of a port."""
    return value.removeprefix("[").removesuffix("]") if isinstance(value, str) else value


def _names(value: object) -> object:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


def _rules(value: Any) -> Any:
    """Restricted protocols, from one text."""
    if not isinstance(value, str):
        return value
    # A list in JSON, as processes hand it on, may hold semicolons.
    if value.startswith("["):
        return json.loads(value)
    return [part for part in value.split(";") if part]


Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_MS / 1000, allow_inf_nan=False)]
Int32 = Annotated[int, Field(ge=1, le=2**31 - 1)]
Host = Annotated[str, BeforeValidator(_bare)]
Bytes = Metavar("BYTES")
Word = Annotated[bool, Metavar("BOOL")]
"""A switch that Triton spells with its value: ``--name true``."""

File = Annotated[Path, Metavar("FILE")]
Level = Literal["debug", "info", "warning", "error"]
ControlMode = Literal["none", "poll", "explicit", "on-demand"]
Repositories = Annotated[
    tuple[Path, ...],
    BeforeValidator(_paths),
    Metavar("DIR"),
    Field(description="The model repository; may be given several times."),
]
BY_COMMAS = BeforeValidator(_names)
BY_SEMICOLONS = BeforeValidator(_rules)


class StoreSettings(Options):
    """How the store is reached. What stands here is in the URL as well, which roles hand on."""

    redis_ca: File | None = None
    """Authorities of a rediss:// server's certificate. (default: those that this machine knows)"""

    redis_cert: File | None = None
    """Certificate to prove oneself with to Redis."""

    redis_key: File | None = None
    """Its private key, without a password."""

    redis_password_file: File | None = None
    """A file with the password of Redis, read again when it changes."""

    @model_validator(mode="before")
    @classmethod
    def _in_the_url(cls, given: dict[str, Any]) -> dict[str, Any]:
        fields = ("redis_ca", "redis_cert", "redis_key", "redis_password_file")
        files = StoreFiles(*(Path(given[name]) if given.get(name) else None for name in fields))
        if not any(files):
            return given
        if not given.get("redis"):
            raise InvalidConfiguration(
                "--redis-ca, --redis-cert, --redis-key and --redis-password-file need --redis"
            )
        return {**given, "redis": with_files(str(given["redis"]), files)}
