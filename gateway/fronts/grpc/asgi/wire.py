"""gRPC over HTTP/2 as its specification has it: headers, metadata, statuses, messages.

Pure: bytes in and bytes out. https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from penstock.errors import Code, PenstockError
from penstock.gateway.fronts.compression import KNOWN, compressed

Header = tuple[bytes, bytes]
Metadata = Sequence[tuple[str, str | bytes]]

PREFIX_BYTES: Final = 5
"""Before each message: whether it is compressed, and its size."""

IDENTITY: Final = b"identity"
ENCODINGS: Final = b"identity,deflate,gzip"
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_BINARY: Final = b"-bin"
_RESERVED: Final = frozenset(
    (b"content-type", b"te", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding", b"host")
)
_LONGEST_TEXT: Final = 4096
"""Bytes of a status's text."""


class WireError(PenstockError):
    """What came is not gRPC as its specification has it."""


class UnknownEncoding(PenstockError):
    """A message is compressed in a way that nobody here knows."""

    code = Code.UNIMPLEMENTED


class Asked(NamedTuple):
    """What the headers of an RPC say.

    Attributes:
        remaining_s: until its client's deadline; None where there is none.
        encoding: of its messages that are compressed.
        accepted: encodings that its client takes.
    """

    metadata: Metadata
    remaining_s: float | None = None
    encoding: bytes = IDENTITY
    accepted: bytes = b""


def asked(headers: Iterable[Header]) -> Asked:
    """What *headers*, whose names are in lower case, say.

    Raises:
        WireError: they are none of gRPC's.
        UnknownEncoding: no such encoding is known.
    """
    metadata: list[tuple[str, str | bytes]] = []
    remaining_s, encoding, accepted = None, IDENTITY, b""
    for name, value in headers:
        if name not in _RESERVED:
            _add(metadata, name, value)
        elif name == b"grpc-timeout":
            remaining_s = _seconds(value)
        elif name == b"grpc-encoding":
            encoding = value
        elif name == b"grpc-accept-encoding":
            accepted = value
    if encoding != IDENTITY and encoding not in KNOWN:
        shown = encoding.decode("ascii", "replace")
        raise UnknownEncoding(f"there is no grpc-encoding '{shown}', only {ENCODINGS.decode()}")
    return Asked(tuple(metadata), remaining_s, encoding, accepted)


def _add(metadata: list[tuple[str, str | bytes]], name: bytes, value: bytes) -> None:
    if name.startswith(b":"):
        return
    text = name.decode("latin-1")
    if not name.endswith(_BINARY):
        metadata.append((text, value.decode("latin-1")))
        return
    # Several values may be joined into one header.
    for part in value.split(b","):
        try:
            metadata.append((text, base64.b64decode(part + b"=" * (-len(part) % 4))))
        except binascii.Error as error:
            raise WireError(f"the metadata '{text}' is no base64") from error


def _seconds(value: bytes) -> float:
    number, unit = value[:-1], value[-1:]
    if not (1 <= len(number) <= 8 and number.isdigit() and unit in _UNITS):
        raise WireError(f"the grpc-timeout '{value.decode('ascii', 'replace')}' is none")
    return int(number) * _UNITS[unit]


def accepts(accepted: bytes, encoding: bytes) -> bool:
    """Whether *encoding* is among those that a client takes."""
    return encoding in (one.strip() for one in accepted.split(b","))


def metadata_headers(metadata: Iterable[tuple[str, str | bytes]]) -> list[Header]:
    """Metadata as headers."""
    headers = []
    for name, value in metadata:
        key, sent = name.encode(), value.encode() if isinstance(value, str) else value
        binary = key.endswith(_BINARY)
        headers.append((key, base64.b64encode(sent).rstrip(b"=") if binary else sent))
    return headers


def status_headers(
    status: int, text: str = "", metadata: Iterable[tuple[str, str | bytes]] = ()
) -> list[Header]:
    """What ends an RPC, with the metadata that go with it."""
    headers = [(b"grpc-status", b"%d" % status)]
    if text:
        headers.append((b"grpc-message", _percent_encoded(text)))
    return [*headers, *metadata_headers(metadata)]


def _percent_encoded(text: str) -> bytes:
    """UTF-8, all but printable ASCII as percent signs and two digits."""
    sent = text.encode("utf-8", "replace")[:_LONGEST_TEXT]
    return b"".join(b"%c" % c if 32 <= c <= 126 and c != 37 else b"%%%02X" % c for c in sent)


def framed(message: bytes, encoding: bytes = IDENTITY) -> bytes:
    """*message* as it goes into the body; compressed if that makes it shorter."""
    if encoding != IDENTITY:
        shorter = compressed(message, encoding)
        if len(shorter) < len(message):
            return b"\x01" + len(shorter).to_bytes(4, "big") + shorter
    return b"\0" + len(message).to_bytes(4, "big") + message
