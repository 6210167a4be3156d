"""A gateway that others can reach, and that nothing protects, does not start."""

import pytest

from penstock.errors import InvalidConfiguration
from penstock.gateway.access.exposure import refuse_exposed
from penstock.settings import GatewaySettings


def settings(**given):
    return GatewaySettings(redis="unix:///none", **given)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_on_this_machine_anybody_may(host):
    refuse_exposed(settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example", ""])  # noqa: S104
def test_from_elsewhere_nobody_may_without_a_credential(host):
    with pytest.raises(
        InvalidConfiguration, match=r"--auth keys.*penstock keys create.*--insecure"
    ):
        refuse_exposed(settings(host=host))


@pytest.mark.parametrize("option", ["http_host", "metrics_host"])
def test_each_port_counts(option):
    with pytest.raises(InvalidConfiguration, match=option.replace("_", "-")):
        refuse_exposed(settings(**{option: "10.0.0.1"}))


@pytest.mark.parametrize("option", ["http", "metrics"])
def test_a_port_that_is_not_served_does_not(option):
    refuse_exposed(settings(**{f"{option}_host": "10.0.0.1", option: False}))


TLS = {"tls_cert": "/c.pem", "tls_key": "/k.pem"}
CA = {"tls_client_ca": "/ca.pem"}
OPTIONAL = {"tls_client_auth": "optional"}


@pytest.mark.parametrize("given", [{"auth": "keys"} | TLS, TLS | CA])
def test_with_tls_and_credentials_others_may(given):
    refuse_exposed(settings(host="10.0.0.1", **given))


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (TLS, "--auth keys"),
        (TLS | {"auth": "none"}, "--auth keys"),
        (TLS | CA | OPTIONAL, "--auth keys"),
        ({"auth": "keys"}, "--tls-cert"),
    ],
)
def test_one_of_the_two_is_not_enough(given, missing):
    with pytest.raises(InvalidConfiguration, match=missing):
        refuse_exposed(settings(host="10.0.0.1", **given))


def test_whoever_says_so_may():
    refuse_exposed(settings(host="10.0.0.1", insecure=True))
