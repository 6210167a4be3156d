"""Handshakes: why a gateway that is there does not let a client in, found by trying once more.

gRPC says of most of it that a socket was closed. Python's own TLS knows the reason.
"""

import contextlib
import pkgutil
import socket
import ssl
from typing import Final

from penstock.transport import certificates
from penstock.transport.certificates import Certificates, Names

_PATIENCE_S: Final = 2.0
_WRONG_NAME: Final = (62, 64)
_EXPIRED: Final = 10
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
_WANTED: Final = "CERTIFICATE_REQUIRED"
_REFUSED: Final = {
    "UNKNOWN_CA": "does not believe who signed the client's certificate: {cert} must be signed by "
    "an authority of its --tls-client-ca",
    "CERTIFICATE_EXPIRED": "does not take the client's certificate, which is over: renew {cert}",
    "CERTIFICATE": "does not take the client's certificate: look at {cert}",
}


def obstacle(
    place: tuple[str, int], found: Certificates | None, name: str, names: Names
) -> str | None:
    """What is in the way, and what to do; None where nothing is, or nobody answers.

    Takes a few seconds at most.

    Args:
        place: host and port, to connect to as gRPC would have.
        found: what the client proves itself with; None for no TLS.
        name: that must be in the server's certificate.
        names: what people call the client's files.
    """
    try:
        with socket.create_connection(place, timeout=_PATIENCE_S) as connection:
            if found is None:
                return _plain(connection, names.authorities)
            return _tls(connection, found, name, names)
    except OSError:
        return None


def _plain(connection: socket.socket, ca: str) -> str | None:
    """Whether the server would have TLS, which it does not say to those who come without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with contextlib.suppress(ssl.SSLError), context.wrap_socket(connection):
        return (
            "it speaks TLS, and the client does not: write grpcs:// in front of the address, and "
            f"give {ca} the authority that signed its certificate"
        )
    return None


def _tls(connection: socket.socket, found: Certificates, name: str, names: Names) -> str | None:
    try:
        with _context(found).wrap_socket(connection, server_hostname=name) as encrypted:
            # With TLS 1.3 a server says only now what it thinks of the client, or just leaves.
            return None if encrypted.recv(1) else _left(found, names)
    except ssl.SSLCertVerificationError as error:
        return _unbelieved(error, name, names.authorities)
    except ssl.SSLError as error:
        return _refused(error.reason or "", names)
    except TimeoutError:
        return None
    except OSError:
        return _left(found, names)


def _left(found: Certificates, names: Names) -> str:
    """What it may be when a server ends the connection without a word."""
    cert, key, _ = names
    if found.chain is None:
        return f"it ends the connection: it may want to know who asks; give {cert} and {key}"
    return (
        f"it ends the connection: it may not take {cert}, which must be signed by an authority of "
        "its --tls-client-ca, and not be over"
    )


def _refused(reason: str, names: Names) -> str:
    """What OpenSSL's *reason* means."""
    cert, key, ca = names
    if reason in _NO_TLS:
        return f"it speaks no TLS: leave out grpcs://, {ca}, {cert} and {key}"
    if _WANTED in reason:
        return f"it wants to know who asks: give {cert} and {key}"
    return next(
        (f"it {text.format(cert=cert)}" for word, text in _REFUSED.items() if word in reason),
        f"the TLS handshake fails: {reason.replace('_', ' ').lower()}",
    )


def _unbelieved(error: ssl.SSLCertVerificationError, name: str, ca: str) -> str:
    if error.verify_code in _WRONG_NAME:
        return (
            f"its certificate is not for '{name}': connect by a name that is in it, or have it "
            "made for this one"
        )
    if error.verify_code == _EXPIRED:
        return "its certificate has expired: renew it there"
    return (
        f"its certificate is signed by nobody whom the client believes ({error.verify_message}): "
        f"give {ca} the file of the authority that signed it"
    )


def _context(found: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities = found.authorities
    if authorities is None:
        # Those that gRPC believes.
        authorities = pkgutil.get_data("grpc", "_cython/_credentials/roots.pem") or b""
    certificates.believe(context, authorities)
    with certificates.as_files(found) as files:
        certificates.load_pair(context, files)
    context.set_alpn_protocols(["h2"])
    return context
