"""API keys as callers send them: ``psk_<id>_<256 random bits>_<crc32>``. Pure but for chance.

The beginning and the check sum let scanners for leaked secrets find them, and tell a mistyped one
from a wrong one. What is kept is the SHA-256 of the whole text: as many random bits need no slow
hash.
"""

import hashlib
import re
import secrets
import zlib
from base64 import b32encode
from typing import Final, NamedTuple

from penstock.errors import InvalidConfiguration

_ID_CHARACTERS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH: Final = 10
_SECRET_BYTES: Final = 32
_FORM: Final = re.compile(r"(psk_([a-z2-7]{10})_[a-z2-7]{52}_)([0-9a-f]{8})", re.ASCII)
KEY_ID: Final = re.compile(r"[a-z2-7]{10}", re.ASCII)


class Minted(NamedTuple):
    """A new secret: the only moment at which its text is known."""

    text: str
    sha256: bytes

    def __repr__(self) -> str:
        return "Minted(***)"


def new_id() -> str:
    """An id for a key that there is not yet: 50 random bits."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))


def mint(key: str) -> Minted:
    """A new secret of the key with the id *key*."""
    random = b32encode(secrets.token_bytes(_SECRET_BYTES)).decode().rstrip("=").lower()
    start = f"psk_{key}_{random}_"
    text = start + _sum_of(start)
    return Minted(text, hash_of(text))


def hash_of(text: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(text.encode()).digest()


def id_in(text: str) -> str | None:
    """The id of the key that *text* is a secret of, whatever there is; None where it is none's."""
    found = _FORM.fullmatch(text)
    return found[2] if found is not None and found[3] == _sum_of(found[1]) else None


def checked_id(text: str) -> str:
    """*text*, where it can be the id of a key.

    Raises:
        InvalidConfiguration: it cannot, or is a whole secret, which is in no error.
    """
    if text.startswith("psk_"):
        raise InvalidConfiguration(
            "this is the secret of a key, which is now in your shell's history: name the key by "
            "its id, the ten characters behind 'psk_', and rotate it"
        )
    if KEY_ID.fullmatch(text) is None:
        raise InvalidConfiguration(
            f"'{text}' is no id of a key: 'penstock keys ls' lists them, ten characters each"
        )
    return text


def _sum_of(start: str) -> str:
    return f"{zlib.crc32(start.encode()):08x}"
