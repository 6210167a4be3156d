"""Store files: certificates and a password that stand beside the URL of a Redis, and in it.

Processes hand the URL to each other, so it names the files: ``?ca=&cert=&key=&password_file=``.
"""

from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from penstock.errors import InvalidConfiguration

_SECURE: Final = "rediss"


NEED_URL: Final = "--redis-ca, --redis-cert, --redis-key and --redis-password-file need --redis"


class StoreFiles(NamedTuple):
    """Files by the names that they have in a URL."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    password_file: Path | None = None


def with_files(url: str, files: StoreFiles) -> str:
    """*url*, with these files in place of those of the same kinds.

    Raises:
        InvalidConfiguration: certificates beside a URL without TLS.
    """
    given = {name: str(file.absolute()) for name, file in files._asdict().items() if file}
    secret = {"password_file"}
    if given.keys() - secret and not url.startswith(_SECURE):
        options = ", ".join(f"--redis-{name}" for name in sorted(given.keys() - secret))
        raise InvalidConfiguration(f"{options}: --redis is without TLS; write rediss:// there")
    if not given:
        return url
    base, _, query = url.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query, True) if name not in given]
    return f"{base}?{_query([*kept, *given.items()])}"


def without_files(url: str) -> tuple[str, StoreFiles]:
    """The URL as others understand it, and the files that it names."""
    base, _, query = url.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    found = {name: Path(value) for name, value in pairs if name in StoreFiles._fields}
    rest = [(name, value) for name, value in pairs if name not in found]
    plain = f"{base}?{_query(rest)}" if rest else base
    return plain, StoreFiles(**found)


def _query(pairs: list[tuple[str, str]]) -> str:
    return urlencode(pairs, safe="/", quote_via=quote)
