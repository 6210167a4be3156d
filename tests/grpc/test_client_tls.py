"""The client over TLS: it proves who it is, says what is in the way, and takes up new files."""

import asyncio
import re

import pytest
from support.authority import Authority
from support.servers.rpc_server import serving

from penstock.client import AsyncClient, Client, RetryPolicy, Unreachable
from penstock.errors import InvalidConfiguration

ONCE = RetryPolicy(attempts=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder):
    return Authority(folder)


@pytest.fixture(scope="module")
def stranger(folder):
    return Authority(folder, "stranger")


@pytest.fixture(scope="module")
def team(authority):
    return authority.issue("team", "team.example")


@pytest.fixture(scope="module", params=["aio", "asgi"])
def mutual(request, authority):
    """A server that has clients prove who they are."""
    certificate, key = map(str, authority.server())
    options = {"tls_cert": certificate, "tls_key": key, "tls_client_ca": str(authority.path)}
    with serving(request.param, **options) as found:
        yield found


@pytest.fixture(scope="module", params=["aio", "asgi"])
def plain(request):
    with serving(request.param) as found:
        yield found


async def both(url, **options):
    """What either client says of *url*."""
    said = []
    with Client(url, retry=ONCE, deadline_s=20, **options) as client:
        try:
            said.append(client.live())
        except Unreachable as error:
            said.append(str(error))
    async with AsyncClient(url, retry=ONCE, deadline_s=20, **options) as client:
        try:
            said.append(await client.live())
        except Unreachable as error:
            said.append(str(error))
    assert said[0] == said[1]
    return said[0]


async def test_whoever_proves_itself_gets_in(mutual, authority, team):
    assert await both(mutual, ca=authority.path, cert=team.certificate, key=team.key)
    assert await both(
        f"grpcs://{mutual}", ca=str(authority.path), cert=str(team.certificate), key=str(team.key)
    )


async def test_whoever_does_not_is_told_what_is_in_the_way(mutual, authority, stranger, team):
    own, late = (
        stranger.issue("own", "x.example"),
        authority.issue("late", "x.example", expired=True),
    )
    pair = {"cert": team.certificate, "key": team.key}

    assert "speaks TLS" in await both(mutual)
    assert "give cert and key" in await both(mutual, ca=authority.path)
    assert "give ca the file of the authority" in await both(mutual, ca=stranger.path, **pair)
    assert "give ca the file of the authority" in await both(f"grpcs://{mutual}", **pair)
    # Servers differ in how much they say of it.
    foreign = await both(mutual, ca=authority.path, cert=own.certificate, key=own.key)
    assert re.search("cert,? .*must be signed by an authority of its --tls-client-ca", foreign)
    over = await both(mutual, ca=authority.path, cert=late.certificate, key=late.key)
    assert re.search("take (the client's certificate|cert).* (is|be) over", over)
    assert "not for 'elsewhere.example'" in await both(
        mutual, ca=authority.path, server_name="elsewhere.example", **pair
    )
    assert await both(mutual, ca=authority.path, server_name="localhost", **pair)


async def test_a_server_without_tls_is_told(plain, authority):
    assert "it speaks no TLS" in await both(plain, ca=authority.path)


async def test_new_files_are_taken_up_and_nothing_fails(mutual, authority, folder):
    """At first the file has nobody's certificate in it that the server believes."""
    stranger = Authority(folder, "elsewhere")
    pair = stranger.issue("changing", "a.example")
    ours = authority.issue("ours", "b.example")
    options = {"ca": authority.path, "cert": pair.certificate, "key": pair.key, "deadline_s": 30}
    patient = RetryPolicy(attempts=1000, calls=1000)
    with Client(mutual, retry=patient, **options) as client:
        async with AsyncClient(mutual, retry=patient, **options) as other:
            waiting = [asyncio.to_thread(client.live), other.live()]
            waiting = [asyncio.ensure_future(one) for one in waiting]
            await asyncio.sleep(0.5)
            pair.become(ours)
            answers = await asyncio.gather(*waiting)

    assert answers == [True, True]


def test_what_cannot_be_is_refused_at_once(authority, team, tmp_path):
    def refused(url, **options):
        with pytest.raises(InvalidConfiguration) as raised:
            Client(url, **options)
        return str(raised.value)

    assert "cert needs key" in refused("127.0.0.1:1", cert=team.certificate)
    assert "write grpcs://" in refused("grpc://127.0.0.1:1", ca=authority.path)
    assert "need server_name" in refused(["127.0.0.1:1", "127.0.0.1:2"], ca=authority.path)
    assert "all with TLS" in refused(["grpcs://127.0.0.1:1", "127.0.0.1:2"])
    # Who reads along would have it.
    assert "use TLS" in refused("gateway.example:8001", token="psk_" + "secret")
    assert "psk_secret" not in refused("127.0.0.1:1", token=tmp_path / "psk_secret")
    assert "one word" in refused("127.0.0.1:1", token="ü" * 4)
