"""Client names: what the certificate that a client has proved to be its own says of it."""

from collections.abc import Iterable
from typing import Final

from penstock.recent import kept

_MOST: Final = 4096


@kept(_MOST)
def names_in(certificate: str | bytes) -> tuple[str, ...]:
    """The URIs of a certificate in PEM format, then its DNS names.

    Its common name stands for these only where it has none of them (RFC 6125): authorities look
    less closely at what they write there. Empty where nobody can read it.
    """
    from cryptography import x509

    pem = certificate.encode() if isinstance(certificate, str) else certificate
    try:
        loaded = x509.load_pem_x509_certificate(pem)
        extension = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        alternatives: Iterable[x509.GeneralName] = extension.value
    except x509.ExtensionNotFound:
        alternatives = ()
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ()
    uris = [one.value for one in alternatives if isinstance(one, x509.UniformResourceIdentifier)]
    hosts = [one.value for one in alternatives if isinstance(one, x509.DNSName)]
    common = loaded.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return (*uris, *hosts) or tuple(str(one.value) for one in common)
