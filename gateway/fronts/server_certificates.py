"""Server certificates: what this gateway proves itself with, read again when its files change."""

import ssl
from typing import Final, Literal

from penstock.errors import InvalidConfiguration
from penstock.settings import GatewaySettings
from penstock.transport import certificates
from penstock.transport.certificates import CertificateFiles, Names
from penstock.transport.changing_certificates import ChangingCertificates

_NAMES: Final = Names("--tls-cert", "--tls-key", "--tls-client-ca")
_VERIFY: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class ServerCertificates(ChangingCertificates):
    """The certificates of the moment.

    Attributes:
        client_auth: whether clients need one: they do not where there are no authorities.
    """

    client_auth: Literal["none", "optional", "required"] = "none"

    @classmethod
    def of(cls, settings: GatewaySettings) -> "ServerCertificates | None":
        """Those of *settings*; None where they ask for none.

        Raises:
            InvalidConfiguration: they cannot be used; with what to do.
        """
        certificate, key = settings.tls_cert, settings.tls_key
        files = CertificateFiles(_NAMES, certificate, key, settings.tls_client_ca)
        if not files.given():
            return None
        if certificate is None and key is None:
            raise InvalidConfiguration("--tls-client-ca needs --tls-cert and --tls-key")
        if settings.tls_client_ca is None:
            return cls(files)
        if settings.tls_client_auth == "optional" and settings.grpc_front == "aio":
            raise InvalidConfiguration(
                "--tls-client-auth optional: gRPC's own server asks for a certificate either never "
                "or of everybody; use --grpc-front asgi, or leave it out"
            )
        made = cls(files)
        made.client_auth = settings.tls_client_auth
        return made

    def context(self) -> ssl.SSLContext:
        """What is in use now, for Python's own servers."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with certificates.as_files(self.current) as files:
            certificates.load_pair(made, files)
        if self.current.authorities is not None:
            certificates.believe(made, self.current.authorities)
            made.verify_mode = _VERIFY[self.client_auth]
        return made
