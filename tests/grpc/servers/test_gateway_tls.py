"""A gateway with TLS on all its ports, as stock clients find it."""

import asyncio
import contextlib
import http.client
import re
import socket
import ssl
import subprocess
import threading
import time

import gevent.ssl
import pytest
import tritonclient.grpc
import tritonclient.http
from support.authority import Authority, until_shown
from support.processes.roles import starting

PLAIN = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def pair(authority):
    return authority.server()


@pytest.fixture
async def gateway(kind, tmp_path, redis_url, authority, pair):
    """One that has clients prove who they are."""
    with starting(tmp_path, redis_url) as start:
        gateway = start(
            *("gateway", "--port", "0", "--grpc-front", kind),
            *("--http", "--http-port", "0", "--metrics-port", "0"),
            *("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)),
            *("--tls-client-ca", str(authority.path)),
        )
        await gateway.up()
        yield gateway


def port_of(gateway, what):
    found = re.search(rf"{what} +.*address=127.0.0.1:(\d+)", PLAIN.sub("", gateway.log.read_text()))
    return int(found[1])


@pytest.fixture
def team(authority):
    return authority.issue("team", "team.example")


def curl(port, path, *options):
    """Its exit status, and what it printed."""
    command = ["curl", "-s", "--max-time", "20", f"https://localhost:{port}{path}", *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout


def test_stock_clients_come_in_with_their_certificates(gateway, authority, team):
    ports = {what: port_of(gateway, what) for what in ("serving HTTP", "serving metrics")}
    ca, proof = ("--cacert", str(authority.path)), ("--cert", str(team.certificate))
    proof = (*proof, "--key", str(team.key))
    files = {
        "root_certificates": str(authority.path),
        "private_key": str(team.key),
        "certificate_chain": str(team.certificate),
    }
    address = gateway.ready.read_text()

    for what, path in (("serving HTTP", "/livez"), ("serving metrics", "/metrics")):
        assert curl(ports[what], path, *ca, *proof)[0] == 0
        assert curl(ports[what], path, *ca)[0] != 0
        assert curl(ports[what], path, "--insecure", *proof)[0] == 0
        assert curl(ports[what], path, *proof)[0] == 60  # it does not believe the server
    with tritonclient.grpc.InferenceServerClient(address, ssl=True, **files) as client:
        assert client.is_server_live()
    options = {"keyfile": str(team.key), "certfile": str(team.certificate)}
    client = tritonclient.http.InferenceServerClient(
        f"localhost:{ports['serving HTTP']}",
        ssl=True,
        ssl_options={"ca_certs": str(authority.path), **options},
        ssl_context_factory=gevent.ssl.create_default_context,
    )
    assert client.is_server_live()
    client.close()
    # Whoever does not speak TLS fills no log.
    host, grpc_port = address.rsplit(":", 1)
    with socket.create_connection((host, int(grpc_port)), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while connection.recv(100):
                pass
    assert "ssl_transport_security" not in gateway.log.read_text()
    assert "PRIVATE" not in gateway.log.read_text()


class Caller(threading.Thread):
    """Asks over one connection for as long as it is kept, as browsers do, until it is told to end.

    Attributes:
        connections: how many it needed.
    """

    def __init__(self, port, context):
        super().__init__(daemon=True)
        self._made = lambda: http.client.HTTPSConnection(
            "localhost", port, context=context, timeout=30
        )
        self.ending = False
        self.connections, self.failures, self.answers = 0, [], set()

    def run(self):
        connection = self._made()
        while not self.ending:
            try:
                self.connections += connection.sock is None
                connection.request("GET", "/livez")
                self.answers.add(connection.getresponse().read())
                time.sleep(0.001)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
        connection.close()


async def test_http_clients_see_nothing_of_a_change(gateway, authority, team, pair):
    port, metrics = port_of(gateway, "serving HTTP"), port_of(gateway, "serving metrics")
    context = ssl.create_default_context(cafile=str(authority.path))
    context.load_cert_chain(*team)
    callers = [Caller(port, context) for _ in range(4)]
    for caller in callers:
        caller.start()
    pair.become(fresh := authority.issue("fresh", "localhost"))

    for one in (port, metrics):
        await asyncio.to_thread(until_shown, f"127.0.0.1:{one}", authority, team, fresh)
    for caller in callers:
        caller.ending = True
        caller.join(60)

    assert [caller.failures for caller in callers] == [[]] * 4
    assert [caller.answers for caller in callers] == [{b"ok\n"}] * 4
    assert all(caller.connections > 1 for caller in callers)
