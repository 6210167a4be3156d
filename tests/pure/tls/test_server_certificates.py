"""A gateway's certificates: checked at the start, changed while it serves."""

import pytest
import structlog
from support.authority import Authority

from penstock.errors import InvalidConfiguration
from penstock.gateway.fronts.client_names import names_in
from penstock.gateway.fronts.server_certificates import ServerCertificates
from penstock.settings import GatewaySettings, NodeSettings
from penstock.workers.node import agent


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def pair(authority):
    return authority.server()


def of(pair=(None, None), authority=None, **given):
    certificate, key = pair
    ca = authority and authority.path
    settings = GatewaySettings(
        redis="unix:///none", tls_cert=certificate, tls_key=key, tls_client_ca=ca, **given
    )
    return ServerCertificates.of(settings)


async def changed(certificates):
    """What was told of a change, and logged, in two looks."""
    told = []

    async def tell(found):
        told.append(found.chain)

    certificates.on_change(tell)
    with structlog.testing.capture_logs() as logged:
        await certificates.look()
        await certificates.look()
        await certificates.look()
    return told, [line for line in logged if line["log_level"] == "error"]


def test_clients_need_a_certificate_once_there_is_an_authority(pair, authority):
    assert of() is None
    assert of(pair).client_auth == "none"
    assert of(pair, authority).client_auth == "required"
    given = {"tls_client_auth": "optional", "grpc_front": "asgi"}
    assert of(pair, authority, **given).client_auth == "optional"


def test_what_cannot_be_is_refused(pair, authority):
    with pytest.raises(InvalidConfiguration, match="--tls-client-ca needs --tls-cert"):
        of(authority=authority)
    with pytest.raises(InvalidConfiguration, match="use --grpc-front asgi"):
        of(pair, authority, tls_client_auth="optional")


def test_an_expired_certificate_is_refused(authority):
    expired = authority.issue("old", "localhost", expired=True)

    with pytest.raises(InvalidConfiguration, match=r"expired at 2021-01-01 .*: renew it"):
        of(expired)


async def test_a_new_pair_takes_the_place_of_the_old_one(pair, authority):
    certificates = of(pair)
    pair.become(fresh := authority.issue("fresh", "localhost"))

    told, wrong = await changed(certificates)

    assert told == [fresh.certificate.read_bytes()]
    assert certificates.current.key == fresh.key.read_bytes()
    assert wrong == []


async def test_one_file_may_come_before_the_other(pair, authority):
    certificates = of(pair)
    fresh = authority.issue("fresh", "localhost")
    pair.certificate.write_bytes(fresh.certificate.read_bytes())
    with structlog.testing.capture_logs() as logged:
        await certificates.look()
    pair.key.write_bytes(fresh.key.read_bytes())

    told, wrong = await changed(certificates)

    assert (len(told), wrong, logged) == (1, [], [])


async def test_a_pair_that_cannot_be_used_changes_nothing_and_is_told_once(pair, authority):
    certificates = of(pair)
    before = certificates.current
    pair.become(authority.issue("old", "localhost", expired=True))

    told, wrong = await changed(certificates)

    assert (told, certificates.current) == ([], before)
    assert len(wrong) == 1
    assert "expired at 2021" in wrong[0]["error"]


async def test_a_front_that_cannot_take_a_pair_keeps_no_other_from_it(pair, authority):
    certificates = of(pair)

    async def fails(_):
        raise ValueError("not with me")

    certificates.on_change(fails)
    pair.become(authority.issue("fresh", "localhost"))

    told, wrong = await changed(certificates)

    assert len(told) == 1
    assert len(wrong) == 1


def test_a_client_has_the_names_of_its_certificate(authority):
    def names(pair):
        return names_in(pair.certificate.read_bytes())

    uri = "spiffe://example.org/team/a"
    both = authority.with_uri("both", uri, hosts=["a.example"], common_name="root")

    assert names(authority.with_uri("uri", uri)) == (uri,)
    # Whoever may choose a common name cannot take another's place with it.
    assert names(both) == (uri, "a.example")
    assert names(authority.issue("host", "b.example", common_name="c")) == ("b.example",)
    assert names(authority.issue("name", "d@example", common_name="team d")) == ("team d",)
    assert names_in("no certificate") == ()


async def test_a_node_whose_certificates_for_hops_cannot_be_used_does_not_start(
    tmp_path, authority
):
    """Its workers would say so later, one after the other."""
    over = authority.issue("over", "127.0.0.1", expired=True)
    settings = NodeSettings(
        redis="unix:///none",
        models=tmp_path,
        hop_host="127.0.0.1",
        hop_cert=over.certificate,
        hop_key=over.key,
        hop_ca=authority.path,
    )
    with pytest.raises(InvalidConfiguration, match=r"--hop-cert: .* expired"):
        await agent.run(settings)
