"""Changing certificates: those that a process proves itself with, read again when files change.

A new pair that cannot be used changes nothing: the old one goes on, and the log says why.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import structlog

from penstock.errors import InvalidConfiguration
from penstock.transport import certificates
from penstock.transport.certificates import CertificateFiles, Certificates, Stamp

if TYPE_CHECKING:
    from cryptography import x509

log = structlog.get_logger()

_LOOK_EVERY_S: Final = 1.0
_SOON_S: Final = 7 * 24 * 3600.0
_REMIND_EVERY_S: Final = 24 * 3600.0

OnChange = Callable[[Certificates], Awaitable[None]]


class ChangingCertificates:
    """The certificates of the moment.

    Attributes:
        current: a pair that fits, and whose certificates are believed of others, if any are.
    """

    def __init__(self, files: CertificateFiles) -> None:
        """*files* have a pair; raises InvalidConfiguration where they cannot be used."""
        self._files = files
        self._seen: Stamp = certificates.stamp(files)
        self._doubted: Stamp = ()
        self._on_change: list[OnChange] = []
        self.current, self._ends_s = _checked(files)

    def on_change(self, take: OnChange) -> None:
        """Have *take* called with what they have become."""
        self._on_change.append(take)

    async def run(self) -> None:
        """Look again and again, and warn of a certificate whose end is near."""
        reminded_s = -_REMIND_EVERY_S
        option = self._files.names.certificate
        while True:
            left_s = self._ends_s - time.time()
            if left_s < _SOON_S and time.monotonic() - reminded_s >= _REMIND_EVERY_S:
                reminded_s = time.monotonic()
                log.warning("the certificate ends soon", option=option, hours=round(left_s / 3600))
            await asyncio.sleep(_LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Take up what the files have become, if that can be used."""
        stamp = await asyncio.to_thread(certificates.stamp, self._files)
        if stamp == self._seen:
            return
        try:
            found, ends_s = await asyncio.to_thread(_checked, self._files)
        except InvalidConfiguration as error:
            # Of two files, one may be replaced a moment before the other.
            if stamp == self._doubted:
                self._seen = stamp
                # Its text is made for people: where it was raised tells nothing.
                log.error("certificates are not changed, the old ones go on", error=str(error))  # noqa: TRY400
            self._doubted = stamp
            return
        self._seen = stamp
        if found != self.current:
            self.current, self._ends_s = found, ends_s
            log.info("certificates have changed", ends=_date(ends_s))
            for take in self._on_change:
                await _given(take, found)


async def _given(take: OnChange, found: Certificates) -> None:
    try:
        await take(found)
    except Exception as error:
        # A server takes less than OpenSSL does; others go on with what it cannot have.
        log.exception("a port keeps its old certificate", error=str(error))


def _checked(files: CertificateFiles) -> tuple[Certificates, float]:
    """What the files hold, and when the first of its own certificates ends (seconds since 1970).

    Raises:
        InvalidConfiguration: it cannot be used now.
    """
    names, found = files.names, certificates.read(files)
    if found.chain is None:
        raise AssertionError("whoever proves itself has a certificate")
    if found.authorities is not None:
        # Old ones may stand beside new ones.
        wrong = [_wrong_now(one) for one in _loaded(names.authorities, found.authorities)]
        if all(wrong):
            raise InvalidConfiguration(f"{names.authorities}: {wrong[0]}")
    own = _loaded(names.certificate, found.chain)
    for one in own:
        if why := _wrong_now(one):
            raise InvalidConfiguration(f"{names.certificate}: {why}")
    return found, min(one.not_valid_after_utc.timestamp() for one in own)


def _loaded(option: str, pem: bytes) -> Sequence["x509.Certificate"]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidConfiguration(f"{option}: a certificate there cannot be read") from error


def _wrong_now(certificate: "x509.Certificate") -> str | None:
    """Why it does not hold at present."""
    begins_s = certificate.not_valid_before_utc.timestamp()
    ends_s = certificate.not_valid_after_utc.timestamp()
    subject, now_s = certificate.subject.rfc4514_string(), time.time()
    if ends_s <= now_s:
        return f"the certificate of '{subject}' expired at {_date(ends_s)}: renew it"
    if begins_s > now_s:
        return (
            f"the certificate of '{subject}' holds from {_date(begins_s)} on: wait until then, or "
            "set this machine's clock"
        )
    return None


def _date(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_s))
