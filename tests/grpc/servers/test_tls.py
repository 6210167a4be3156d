"""TLS on both servers of RPCs: who gets in, by which names, and certificates that change."""

import json
import threading
import time

import grpc
import pytest
from hyperframe.frame import GoAwayFrame, PingFrame, SettingsFrame
from support.authority import Authority, connected, until_shown
from support.clients.http2_abuse import PREFACE, frames_in
from support.servers.rpc_server import serving

TEAM = "spiffe://example.org/team"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder):
    return Authority(folder)


@pytest.fixture(scope="module")
def stranger(folder):
    """An authority that nobody here believes."""
    return Authority(folder, "stranger")


@pytest.fixture(scope="module")
def team(authority):
    return authority.with_uri("team", TEAM, hosts=["team.example"])


@pytest.fixture(scope="module")
def pair(authority):
    return authority.server()


@pytest.fixture(scope="module")
def address(kind, authority, pair):
    """A server that has clients prove who they are."""
    certificate, key = map(str, pair)
    options = {"tls_cert": certificate, "tls_key": key, "tls_client_ca": str(authority.path)}
    with serving(kind, **options) as found:
        yield found


def credentials(believes, pair=None):
    key, chain = (pair.key.read_bytes(), pair.certificate.read_bytes()) if pair else (None,) * 2
    return grpc.ssl_channel_credentials(believes.pem, key, chain)


def names(client):
    return json.loads(client.one("Asked")(b"", timeout=20))["certificate"]


def refused(client):
    """Whether it gets no answer."""
    with pytest.raises(grpc.RpcError) as raised:
        client.one("Echo")(b"x", timeout=10)
    return raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_call_has_the_names_of_its_clients_certificate(connect, authority, team):
    client = connect(tls=credentials(authority, team))

    assert names(client) == [TEAM, "team.example"]


def test_nobody_gets_in_without_a_certificate_that_is_believed(connect, authority, stranger, team):
    other = stranger.issue("other", "x.example")
    late = authority.issue("late", "x.example", expired=True)

    assert refused(connect(tls=credentials(authority)))
    assert refused(connect(tls=credentials(authority, other)))
    assert refused(connect(tls=credentials(authority, late)))
    # Its own client believes somebody else.
    assert refused(connect(tls=credentials(stranger, team)))
    assert refused(connect())


def test_without_an_authority_clients_need_no_certificate(kind, connect, pair, authority):
    certificate, key = map(str, pair)
    with serving(kind, tls_cert=certificate, tls_key=key) as address:
        assert names(connect(address, tls=credentials(authority))) == []


def test_a_certificate_may_be_optional(kind, connect, pair, authority, team):
    if kind == "aio":
        pytest.skip("it asks either never or of everybody, and says so at the start")
    certificate, key = map(str, pair)
    options = {"tls_cert": certificate, "tls_key": key, "tls_client_ca": str(authority.path)}
    with serving(kind, tls_client_auth="optional", **options) as address:
        assert names(connect(address, tls=credentials(authority))) == []
        proving = connect(address, tls=credentials(authority, team))
        assert names(proving) == [TEAM, "team.example"]


class Callers:
    """Callers that connect, call some times, and connect again, until they are stopped."""

    def __init__(self, connect, count):
        self.answers, self.failures = 0, []
        self._connect, self._stopping = connect, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self):
        while not self._stopping.is_set():
            echo = self._connect().one("Echo")
            for _ in range(100):
                try:
                    echo(b"x", timeout=30)
                except grpc.RpcError as error:
                    self.failures.append(f"{error.code()} {error.details()}")
                else:
                    self.answers += 1


def test_certificates_change_without_a_failed_call(connect, address, authority, team, pair):
    def one():
        # As clients are: what a server has not taken is sent again, without being counted.
        return connect(tls=credentials(authority, team), **{"grpc.enable_retries": 1})

    long = one().one("Sleep").future(b"4", timeout=60)
    with Callers(one, 4) as callers:
        for number in range(3):
            pair.become(fresh := authority.server(f"fresh-{number}"))
            until_shown(address, authority, team, fresh)
            # What is damaged changes nothing.
            before = pair.key.read_bytes()
            pair.key.write_bytes(b"no key")
            until_shown(address, authority, team, fresh)
            pair.key.write_bytes(before)

    assert callers.failures == []
    assert callers.answers > 0
    assert long.result() == b"slept"


def test_who_speaks_while_a_connection_ends_is_not_reset(kind, address, authority, team, pair):
    """Or it might never read which of its calls were not taken."""
    if kind == "aio":
        pytest.skip("it keeps its connections, and what they were proved with")
    ping, said = PingFrame(0, bytes(8)).serialize(), b""
    with connected(address, authority, team) as client:
        client.sendall(PREFACE + SettingsFrame(0).serialize())
        pair.become(authority.server("fresh"))
        while GoAwayFrame not in [type(frame) for frame in frames_in(said)]:
            said += client.recv(1 << 16)
        for _ in range(20):
            client.sendall(ping)
            time.sleep(0.01)
