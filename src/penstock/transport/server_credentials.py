"""What a server of gRPC proves itself with: the certificates of the moment, for each connection."""

import grpc

from penstock.transport.certificates import Certificates
from penstock.transport.changing_certificates import ChangingCertificates


def server_credentials(
    certificates: ChangingCertificates, *, required: bool
) -> grpc.ServerCredentials:
    """Those of *certificates*; *required*: clients need one that is believed."""
    made = certificates.current

    def changed() -> grpc.ServerCertificateConfiguration | None:
        # Each new connection waits for it: nothing is read here.
        nonlocal made
        if made is certificates.current:
            return None
        made = certificates.current
        return _configuration(made)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(made),
        changed,  # type: ignore[arg-type]  # None: nothing has
        required,
    )


def _configuration(found: Certificates) -> grpc.ServerCertificateConfiguration:
    pair = found.key or b"", found.chain or b""
    return grpc.ssl_server_certificate_configuration([pair], found.authorities)
