"""Credentials: what a client proves itself with, as text that one process may hand to another."""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files, and a token.

    Attributes:
        ca: authorities that are believed.
        cert: a certificate, and *key* its key.
        token_file: a file with the token, read again when it changes.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    token_file: str | None = None
    token: str | None = field(default=None, repr=False)


NONE: Final = Credentials()
