"""Certificates: a key pair, and the authorities that are believed, read from files and checked.

What is wrong with a file is told by its option, with what to do; keys are in no error and no log.
Files are read again once their `stamp` differs: whoever replaces them restarts nobody.
"""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from penstock.errors import InvalidConfiguration

_MOST_BYTES: Final = 1 << 20
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_KEY_ENDS: Final = b"PRIVATE KEY-----"
_ENCRYPTED: Final = b"ENCRYPTED"
_MISMATCH: Final = "KEY_VALUES_MISMATCH"


class Names(NamedTuple):
    """What people call the three files."""

    certificate: str
    key: str
    authorities: str


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where they are, in PEM format.

    Attributes:
        certificate: that of the key, followed by those of the authorities between it and a root.
        key: without a password.
        authorities: whose certificates are believed.
    """

    names: Names
    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None

    def given(self) -> tuple[Path, ...]:
        """Those that there are."""
        files = (self.certificate, self.key, self.authorities)
        return tuple(file for file in files if file is not None)


@dataclass(frozen=True, slots=True)
class Certificates:
    """What is in the files; a pair is whole, and its key fits."""

    chain: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    authorities: bytes | None = None


_OWN: Final = Names("certificate", "key", "authorities")

Stamp = tuple[tuple[int, int, int] | None, ...]


def stamp(files: CertificateFiles) -> Stamp:
    """A value that differs once one of the files was replaced or written to."""
    return tuple(_stamp(file) for file in files.given())


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def read(files: CertificateFiles) -> Certificates:
    """What the files hold.

    Raises:
        InvalidConfiguration: they cannot be used; with what to do.
    """
    names = files.names
    if (files.certificate is None) != (files.key is None):
        given, lacks = names.certificate, names.key
        if files.certificate is None:
            given, lacks = lacks, given
        raise InvalidConfiguration(f"{given} needs {lacks}: a certificate is of no use without key")
    chain = _pem(names.certificate, files.certificate, _CERTIFICATE, "certificate")
    key = _pem(names.key, files.key, _KEY_ENDS, "private key")
    if key is not None and _ENCRYPTED in key:
        raise InvalidConfiguration(
            f"{names.key}: the key in {files.key} is encrypted, and nobody could type its password "
            "at each start: write it without one (openssl pkey -in OLD -out NEW) into a file that "
            "only this user may read"
        )
    authorities = _pem(names.authorities, files.authorities, _CERTIFICATE, "certificate")
    found = Certificates(chain, key, authorities)
    _check_pair(files, found)
    _check_authorities(files, found)
    return found


@contextlib.contextmanager
def as_files(found: Certificates) -> Iterator[CertificateFiles]:
    """*found* in files of this process alone, for libraries that take nothing else.

    The true ones may have become something else since they were read.
    """
    with contextlib.ExitStack() as stack:
        place = None
        if not hasattr(os, "memfd_create"):
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def held(name: str, content: bytes | None) -> Path | None:
            if content is None:
                return None
            if place is not None:
                (place / name).write_bytes(content)
                return place / name
            memory = stack.enter_context(os.fdopen(os.memfd_create(name), "wb", buffering=0))
            memory.write(content)
            return Path(f"/proc/self/fd/{memory.fileno()}")

        chain, key = held("certificate", found.chain), held("key", found.key)
        yield CertificateFiles(_OWN, chain, key, held("authorities", found.authorities))


def _pem(option: str, file: Path | None, begins: bytes, what: str) -> bytes | None:
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            found = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidConfiguration(
            f"{option}: {file} cannot be read: {os.strerror(error.errno or 0)}; name a file that "
            "this user may read"
        ) from error
    if len(found) > _MOST_BYTES or begins not in found:
        raise InvalidConfiguration(
            f"{option}: {file} holds no {what} in PEM format, which has a line "
            f"'-----BEGIN {what.upper()}-----'"
        )
    return found


def _check_pair(files: CertificateFiles, found: Certificates) -> None:
    """Raise `InvalidConfiguration` unless the key is that of the first certificate."""
    if found.chain is None:
        return
    names = files.names
    try:
        with as_files(found) as held:
            load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), held)
    except ssl.SSLError as error:
        if error.reason == _MISMATCH:
            raise InvalidConfiguration(
                f"{names.key}: the key in {files.key} is not that of the certificate in "
                f"{files.certificate}; give those that were made together, and put the key's own "
                "certificate first"
            ) from error
        raise InvalidConfiguration(
            f"{names.certificate}, {names.key}: {files.certificate} and {files.key} cannot be "
            f"used: {error.reason or 'one of them is damaged'}"
        ) from error


def load_pair(context: ssl.SSLContext, files: CertificateFiles) -> None:
    """Have *context* prove itself with the pair in *files*, if there is one."""
    if files.certificate is not None:
        context.load_cert_chain(files.certificate, files.key, _no_password)


def _no_password() -> str:
    """OpenSSL asks for one at the terminal otherwise."""
    return ""


def _check_authorities(files: CertificateFiles, found: Certificates) -> None:
    if found.authorities is None:
        return
    try:
        believe(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), found.authorities)
    except ssl.SSLError as error:
        raise InvalidConfiguration(
            f"{files.names.authorities}: {files.authorities} holds a certificate that cannot be "
            f"read: {error.reason or 'it is damaged'}"
        ) from error


def believe(context: ssl.SSLContext, authorities: bytes) -> None:
    """Have *context* believe what *authorities*, in PEM format, have signed."""
    # What stands between certificates may be in any encoding.
    context.load_verify_locations(cadata=authorities.decode("ascii", "ignore"))
