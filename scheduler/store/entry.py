"""Entry: how a connection to Redis gets in, by files that are read anew for each connection."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final

import structlog
from redis.asyncio.connection import AbstractConnection, SSLConnection

from penstock.errors import InvalidConfiguration, StoreUnavailable
from penstock.process.redaction import keep_secret
from penstock.transport import certificates
from penstock.transport.certificates import CertificateFiles, Names, Stamp
from penstock.transport.store_files import StoreFiles

log = structlog.get_logger()

_LOOK_EVERY_S: Final = 1.0
_MOST_PASSWORD_BYTES: Final = 1 << 14
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
_NAMES: Final = Names("--redis-cert", "--redis-key", "--redis-ca")


def why_not(error: ssl.SSLError) -> str:
    """Why a TLS handshake with Redis failed, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not believed: {error.verify_message.rstrip('.')}; give --redis-ca "
            "the authority that signed it, and name it in --redis as its certificate does"
        )
    reason = error.reason or str(error)
    if reason in _NO_TLS:
        return "it speaks no TLS there: write redis:// in --redis, or its TLS port"
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return (
            f"it does not take the client's certificate ({reason.replace('_', ' ').lower()}): give "
            "--redis-cert and --redis-key that its authorities have signed"
        )
    return f"the TLS handshake failed ({reason.replace('_', ' ').lower()})"


class Entry:
    """The files of one Redis: whoever replaces them restarts nobody.

    Attributes:
        user: who logs in; None for Redis's default.
    """

    def __init__(self, files: StoreFiles) -> None:
        """Raises InvalidConfiguration where they cannot be used."""
        self._files = CertificateFiles(_NAMES, files.cert, files.key, files.ca)
        self._password_file = files.password_file
        self.user: str | None = None
        certificates.read(self._files)
        self.password()

    def password(self) -> str | None:
        """The one of the moment.

        Raises:
            InvalidConfiguration: the file cannot be read, or is empty.
        """
        if self._password_file is None:
            return None
        try:
            with self._password_file.open("rb") as opened:
                found = opened.read(_MOST_PASSWORD_BYTES).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
            raise InvalidConfiguration(
                f"--redis-password-file: {self._password_file} cannot be read: {reason}"
            ) from None
        if not found:
            raise InvalidConfiguration(f"--redis-password-file: {self._password_file} is empty")
        keep_secret(found)
        return found

    def stamp(self) -> Stamp:
        """Differs once the password's file was replaced."""
        return certificates.stamp(CertificateFiles(_NAMES, self._password_file))

    def given(self) -> dict[str, Any]:
        """What a connection is made with, beside its address.

        Raises:
            StoreUnavailable: the password cannot be had now.
        """
        try:
            password = self.password()
        except InvalidConfiguration as error:
            raise StoreUnavailable(str(error)) from error
        return {} if password is None else {"password": password}

    async def stay_logged_in(self, is_up: Callable[[], bool], post: Callable[..., None]) -> None:
        """Have a connection that *is_up* say each new password, before the old one's time is over.

        Where there is no file, nobody is woken for it.
        """
        said = self.stamp()
        while self._password_file is not None:
            await asyncio.sleep(_LOOK_EVERY_S)
            stamp = self.stamp()
            if stamp == said or not is_up():
                continue
            said = stamp
            try:
                post(_logged_in, "AUTH", *filter(None, (self.user, self.password())))
            except InvalidConfiguration as error:
                log.warning("the password of redis is not changed", reason=str(error))

    def sentinel_options(self) -> dict[str, Any]:
        """What Sentinels are asked with, over TLS."""
        files = {
            "ssl_ca_certs": self._files.authorities,
            "ssl_certfile": self._files.certificate,
            "ssl_keyfile": self._files.key,
        }
        named = {name: str(file) for name, file in files.items() if file is not None}
        return {"ssl": True, "ssl_check_hostname": True, **named}

    def opened(self, connection: AbstractConnection) -> AbstractConnection:
        """*connection*, which believes these authorities alone, and proves who it is.

        Raises:
            StoreUnavailable: the files cannot be used now.
        """
        if isinstance(connection, SSLConnection) and self._files.given():
            try:
                connection.ssl_context.context = self._context()
            except InvalidConfiguration as error:
                raise StoreUnavailable(str(error)) from error
        return connection

    def _context(self) -> ssl.SSLContext:
        found = certificates.read(self._files)
        if found.authorities is None:
            made = ssl.create_default_context()
        else:
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            certificates.believe(made, found.authorities)
        with certificates.as_files(found) as files:
            certificates.load_pair(made, files)
        return made


def _logged_in(answer: Any) -> None:
    """Say so where Redis does not take a new password: it knows the old login still."""
    if isinstance(answer, Exception):
        log.error("redis does not take the new password, and goes on", error=str(answer))
