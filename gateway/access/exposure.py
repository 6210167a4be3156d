"""Exposure: a gateway that others can reach, and that nothing protects, does not start. Pure."""

from collections.abc import Iterator

from penstock.errors import InvalidConfiguration
from penstock.settings import ServingSettings
from penstock.transport.addresses import is_loopback


def refuse_exposed(settings: ServingSettings) -> None:
    """Refuse to serve other machines without TLS, or whoever has no key.

    Raises:
        InvalidConfiguration: with what to do.
    """
    if settings.insecure:
        return
    exposed = [one for one in _listening(settings) if not is_loopback(one[1])]
    missing = list(_missing(settings))
    if exposed and missing:
        option, host = exposed[0]
        raise InvalidConfiguration(
            f"{option} {host} can be reached from other machines, and {' and '.join(missing)}. "
            "Or serve at 127.0.0.1; or say --insecure, where nobody else can reach this network"
        )


def _listening(settings: ServingSettings) -> Iterator[tuple[str, str]]:
    """The option that chooses each address, and the address."""
    yield "--host", settings.host
    if settings.http and settings.http_host is not None:
        yield "--http-host", settings.http_host
    if settings.admin_port is not None:
        yield "--admin-host", settings.admin_host
    if settings.metrics and settings.metrics_host is not None:
        yield "--metrics-host", settings.metrics_host


def _missing(settings: ServingSettings) -> Iterator[str]:
    asks_for_certificates = settings.tls_client_ca and settings.tls_client_auth == "required"
    asks = settings.auth == "keys" or (settings.auth == "auto" and settings.jwt_jwks)
    if not (asks or asks_for_certificates):
        yield (
            "everybody there could call it: give --auth keys, and make a key with "
            "'penstock keys create'"
        )
    if settings.tls_cert is None:
        yield "everybody on the way could read all of it: give --tls-cert and --tls-key"
