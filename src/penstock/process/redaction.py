"""Secrets stay out of what others can read: logs, errors, and the list of processes.

A secret is the password in a URL, the value of a restricted protocol, an API key but for its id,
and whatever was named by `keep_secret`. Command lines are for everybody on a machine to read,
environments for their own user: processes hand secrets to each other in the environment
(`penstock.process.child_process`).
"""

import contextlib
import ctypes
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from penstock.process.command_line import shown_bytes

HIDDEN: Final = "***"

_LEAST: Final = 6
"""Characters of a secret that is looked for by itself: shorter ones are parts of other words."""


def _patterns(ends: str) -> tuple[re.Pattern[str], ...]:
    """What comes before a secret, and the secret, which goes on until one of *ends* comes."""
    return (
        re.compile(rf"(\w://[^:/@{ends}]*:)[^{ends}]*(?=@)", re.ASCII),
        re.compile(rf"([?&]\w*password\w*=)[^&{ends}]*", re.ASCII | re.IGNORECASE),
        re.compile(
            rf"(restricted[-_]protocol[=\s]+[\w,-]+:[^={ends}]+=)[^{ends}]*",
            re.ASCII | re.IGNORECASE,
        ),
        # API keys, whose ids may be seen.
        re.compile(r"(psk_[a-z2-7]{10}_)\w+", re.ASCII),
    )


_IN_TEXT: Final = _patterns(r"\s'\"")
_IN_WORDS: Final = _patterns(r"\v")
_known: set[str] = set()


def keep_secret(*secrets: str | None) -> None:
    """Leave *secrets* out of everything from now on, but for those too short to be told apart."""
    for secret in secrets:
        if secret and len(secret) >= _LEAST:
            _known.add(secret)


def keep_password(url: str | None) -> None:
    """As `keep_secret`, for the password in *url*, as it is written there and as it is meant."""
    with contextlib.suppress(ValueError):
        _, _, password = urlsplit(url or "").netloc.rpartition("@")[0].partition(":")
        keep_secret(password, unquote(password))


def redacted(text: str) -> str:
    """*text* without its secrets."""
    for pattern in _IN_TEXT:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    for secret in _known:
        text = text.replace(secret, HIDDEN)
    return text


def hide_arguments() -> None:
    """Blank out secrets in this process's own command line, as `ps` shows it, where that can be.

    What Python has read of it (``sys.argv``) stays.
    """
    words = shown_bytes()
    if words is not None:
        ctypes.memmove(words, _blanked(bytes(words)), len(words))


def _blanked(words: bytes) -> bytes:
    """The same number of bytes, in which secrets are asterisks."""
    # One character for each byte, so that lengths stay; zeros part the words.
    text = words.decode("latin-1").replace("\0", "\v")
    for pattern in _IN_WORDS:
        text = pattern.sub(lambda found: found[1] + "*" * (len(found[0]) - len(found[1])), text)
    return text.replace("\v", "\0").encode("latin-1")
