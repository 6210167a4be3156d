"""Key sets: the public keys of an identity provider, from a file or a URL, read again and again.

Nothing of it is on a request's way. A set that cannot be read changes nothing.
"""

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from penstock.errors import InvalidConfiguration
from penstock.gateway.access.tokens import Tokens
from penstock.transport.addresses import is_loopback

log = structlog.get_logger()

_MOST_BYTES: Final = 1 << 20
_MOST_KEYS: Final = 100
_TIMEOUT_S: Final = 10.0
_LOOK_EVERY_S: Final = 1.0
_AGAIN_AFTER_S: Final = 300.0
_SOONEST_S: Final = 10.0
"""A token with an unknown key has the set read anew, not more often: anybody can send one."""


class KeySets:
    """Keeps *tokens* believing the keys at *place*."""

    def __init__(self, place: str, tokens: Tokens) -> None:
        """Raises InvalidConfiguration where *place* is none."""
        self._place = place
        self._tokens = tokens
        self._away = False
        self._last: bytes = b""
        check_place(place)

    async def run(self) -> None:
        """Read the set now and then, for ever."""
        clock = asyncio.get_running_loop().time
        read_s = -_AGAIN_AFTER_S
        while True:
            soon = self._tokens.unknown_key or "://" not in self._place
            if clock() - read_s >= (_SOONEST_S if soon else _AGAIN_AFTER_S):
                read_s = clock()
                await self.read()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def read(self) -> bool:
        """Read the set once; whether that could be done."""
        try:
            content = await asyncio.to_thread(fetched, self._place)
            if content != self._last:
                self._tokens.believe(keys_in(content))
                self._last = content
                log.info("the keys of the tokens' issuer are read", place=self._place)
        except (OSError, ValueError) as error:
            if not self._away:
                log.warning("the keys of the tokens' issuer cannot be read", error=str(error))
            self._away = True
            return False
        self._away = self._tokens.unknown_key = False
        return True


def check_place(place: str) -> None:
    """Refuse what is neither a file nor a URL that nobody can read along.

    Raises:
        InvalidConfiguration: with what to do.
    """
    parts = urlsplit(place)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    if "://" in place:
        raise InvalidConfiguration(
            f"--jwt-jwks: '{place}' must begin with https://, or be a file: whoever stands in "
            "between could give keys of their own"
        )
    if not Path(place).is_file():
        raise InvalidConfiguration(f"--jwt-jwks: there is no file {place}")


def fetched(place: str) -> bytes:
    """What is at *place*.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more bytes than it may.
    """
    if "://" in place:
        with urllib.request.urlopen(place, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - checked
            content: bytes = answer.read(_MOST_BYTES + 1)
    else:
        with Path(place).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"a key set may have {_MOST_BYTES} bytes")
    return content


def keys_in(content: bytes) -> Any:
    """The public keys of a set in JSON, a `joserfc.jwk.KeySet`; secrets in it are passed over.

    Raises:
        ValueError: it is no such set, or has no key.
    """
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    try:
        found = json.loads(content)["keys"]
        public = [key for key in found[:_MOST_KEYS] if key.get("kty") != "oct"]
        return KeySet.import_key_set({"keys": public})
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"this is no set of public keys: {type(error).__name__}") from None
