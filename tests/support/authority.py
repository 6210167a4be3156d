"""An authority of the tests' own, and the certificates that it signs, as files."""

import contextlib
import datetime as dt
import os
import socket
import ssl
import time
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
PAST = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path

    def become(self, other):
        """Have the files of *other* in the place of these, as who renews certificates puts them."""
        for mine, theirs in zip(self, other, strict=True):
            fresh = mine.with_suffix(".new")
            fresh.write_bytes(theirs.read_bytes())
            fresh.rename(mine)


class Authority:
    """Signs certificates; its own is in the file `path`."""

    def __init__(self, folder, name="ca"):
        self._folder = folder
        self._ca = trustme.CA()
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.pem)

    @property
    def pem(self):
        return self._ca.cert_pem.bytes()

    def issue(self, name, *identities, common_name=None, expired=False):
        """A pair for hosts, addresses or nobody in particular."""
        dates = {"not_before": AGO, "not_after": PAST} if expired else {}
        made = self._ca.issue_cert(*identities, common_name=common_name, **dates)
        chain = b"".join(one.bytes() for one in made.cert_chain_pems)
        return self._written(name, chain, made.private_key_pem.bytes())

    def server(self, name="server"):
        """A pair for servers on this machine."""
        return self.issue(name, "localhost", "127.0.0.1", "::1")

    def with_uri(self, name, uri, *, hosts=(), common_name=None):
        """A pair with a URI, as workload identities have one; trustme writes none."""
        root = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        key = ec.generate_private_key(ec.SECP256R1())
        signed = x509.load_pem_x509_certificate(self.pem)
        named = [common_name] if common_name else []
        attributes = [x509.NameAttribute(x509.NameOID.COMMON_NAME, one) for one in named]
        alternatives = [x509.DNSName(host) for host in hosts]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(signed.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(AGO)
            .not_valid_after(AGO + dt.timedelta(days=36500))
            .add_extension(
                x509.SubjectAlternativeName([*alternatives, x509.UniformResourceIdentifier(uri)]),
                critical=not common_name,
            )
        )
        certificate = builder.sign(root, hashes.SHA256())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self._written(name, certificate.public_bytes(serialization.Encoding.PEM), pem)

    def _written(self, name, chain, key):
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.certificate.write_bytes(chain)
        os.close(os.open(pair.key, os.O_CREAT | os.O_WRONLY, 0o600))
        pair.key.write_bytes(key)
        return pair


@contextlib.contextmanager
def connected(address, believed, pair):
    """A connection for HTTP/2, on which nothing has been said yet."""
    context = ssl.create_default_context(cadata=believed.pem.decode())
    context.load_cert_chain(*pair)
    context.set_alpn_protocols(["h2"])
    host, port = address.rsplit(":", 1)
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        yield encrypted


def shown(address, believed, pair):
    """The certificate that a new connection is shown, in DER."""
    with connected(address, believed, pair) as encrypted:
        return encrypted.getpeercert(binary_form=True)


def until_shown(address, authority, pair, wanted, seconds=30.0):
    """Wait until new connections are shown *wanted*, and no other: two may serve for a while."""
    chain = ssl.PEM_cert_to_DER_cert(wanted.certificate.read_text())
    end, matched = time.monotonic() + seconds, 0
    while matched < 8:
        assert time.monotonic() < end, "the new certificate was not taken up"
        matched = matched + 1 if shown(address, authority, pair) == chain else 0
        time.sleep(0.02)
