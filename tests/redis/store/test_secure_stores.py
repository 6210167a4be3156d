"""Redis over TLS, whoever it names by Sentinel or Cluster, and passwords and keys that change."""

import asyncio
import contextlib
import gc
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import redis
from support.authority import Authority
from support.processes.commands import invoke
from support.processes.groups import free_ports, wait_for
from support.processes.stores import Store
from support.waiting import until

from penstock.errors import InvalidConfiguration, StoreUnavailable
from penstock.process.lifetime import bound_command
from penstock.process.redaction import redacted
from penstock.scheduler.store.link import Links
from penstock.settings import GatewaySettings

BINARY = shutil.which("redis-server")

TIMES = 8
"""A server that is quick may be done with its farewell now and then."""


@pytest.fixture(scope="module", autouse=True)
def _installed():
    """The embedded Valkey has no TLS."""
    if BINARY is None and os.environ.get("CI") == "true":
        pytest.fail("redis-server is missing: install it (Debian: apt-get install redis-server)")
    if BINARY is None:
        pytest.skip("redis-server is not installed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(scope="module")
def server(authority):
    return authority.server()


@pytest.fixture(scope="module")
def role(authority):
    return authority.issue("role", "role.example")


def over_tls(port, server, authority):
    """Options of a server that wants to know who asks."""
    return (
        *("--bind", "127.0.0.1", "--tls-port", str(port), "--tls-ca-cert-file", authority.path),
        *("--tls-cert-file", server.certificate, "--tls-key-file", server.key),
        *("--tls-replication", "yes", "--tls-cluster", "yes"),
    )


def store(*options):
    return Store(BINARY, *map(str, options))


@pytest.fixture(scope="module")
def port():
    (port,) = free_ports(1)
    return port


@pytest.fixture(scope="module")
def secure(port, server, authority):
    with store(*over_tls(port, server, authority)) as one:
        yield one


def settings(url, authority=None, pair=None, password_file=None):
    certificate, key = pair or (None, None)
    ca = authority and authority.path
    return GatewaySettings(
        redis=url,
        redis_ca=ca,
        redis_cert=certificate,
        redis_key=key,
        redis_password_file=password_file,
    )


def sockets():
    """The sockets that this process has open."""
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        # The folder's own is closed by now.
        with contextlib.suppress(FileNotFoundError):
            found.add(str(fd.readlink()))
    return {name for name in found if name.startswith("socket:")}


async def pong(settings):
    async with Links(settings.redis) as links:
        return await links.to("{p00}").command("PING")


async def refusal(settings):
    with pytest.raises(StoreUnavailable) as raised:
        await pong(settings)
    return str(raised.value)


@pytest.mark.usefixtures("secure")
async def test_a_server_is_believed_by_its_authority_and_its_name(port, authority, stranger, role):
    url = f"rediss://127.0.0.1:{port}/0"

    assert await pong(settings(url, authority, role)) == b"PONG"
    # What one process has read of it, another has from the URL.
    assert await pong(settings(settings(url, authority, role).redis)) == b"PONG"
    assert "give --redis-ca" in await refusal(settings(url, stranger, role))
    assert "give --redis-ca" in await refusal(settings(url, None, role))
    assert "give --redis-cert" in await refusal(settings(url, authority))
    own = stranger.issue("own", "x.example")
    assert "give --redis-cert" in await refusal(settings(url, authority, own))


@pytest.mark.usefixtures("secure")
@pytest.mark.parametrize("command", [("check", "--port", "1"), ("keys", "ls")])
def test_commands_reach_it_by_the_same_options(port, authority, role, command):
    place = ("--redis", f"rediss://127.0.0.1:{port}/0")
    certificate, key = role
    files = ("--redis-ca", authority.path, "--redis-cert", certificate, "--redis-key", key)

    reached = invoke(*command, *place, *files, "--json")
    refused = invoke(*command, *place, *files[:2], "--json")
    nowhere = invoke(*command, *files)

    said = "answers and is new enough" if command[0] == "check" else "[]"
    assert said in reached.output
    assert "give --redis-cert" in refused.output
    assert "need --redis" in nowhere.output


@pytest.mark.usefixtures("secure")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("known", [True, False])
def test_a_command_that_ends_at_once_leaves_no_connection_open(port, authority, role, known):
    """TLS's farewell takes longer than its event loop lives."""
    found = settings(f"rediss://127.0.0.1:{port}/0", authority, role if known else None)

    async def reach():
        with contextlib.suppress(StoreUnavailable):
            async with Links(found.redis):
                pass

    before = sockets()
    # Which would close what was forgotten.
    gc.disable()
    try:
        for _ in range(TIMES):
            asyncio.run(reach())
        after = sockets()
    finally:
        gc.enable()

    assert after <= before


async def test_a_name_that_is_not_in_the_certificate_is_refused(authority, role):
    named = authority.issue("named", "elsewhere.example")
    (port,) = free_ports(1)
    with store(*over_tls(port, named, authority)):
        text = await refusal(settings(f"rediss://127.0.0.1:{port}", authority, role))

    assert "not valid for '127.0.0.1'" in text


def test_files_without_tls_are_refused(authority, role, tmp_path):
    with pytest.raises(InvalidConfiguration, match="write rediss:// there"):
        settings("redis://127.0.0.1", authority, role)
    # A password needs none.
    found = settings("redis://me@127.0.0.1/2?x=1", password_file=tmp_path / "password")
    assert found.redis == f"redis://me@127.0.0.1/2?x=1&password_file={tmp_path}/password"


async def test_files_that_cannot_be_used_are_told_at_the_start(authority, role, tmp_path):
    role_without_key = role._replace(key=tmp_path / "none")
    with pytest.raises(InvalidConfiguration, match=r"--redis-key: .* cannot be read"):
        await pong(settings("rediss://127.0.0.1", authority, role_without_key))
    with pytest.raises(InvalidConfiguration, match=r"--redis-password-file: .* cannot be read"):
        await pong(settings("redis://127.0.0.1", password_file=tmp_path / "none"))


async def test_passwords_and_certificates_change_without_a_failed_command(
    secure, port, authority, tmp_path
):
    old, new = "canary-of-an-old-password", "canary-of-a-new-password"
    role, file = authority.issue("changing", "a.example"), tmp_path / "password"
    file.write_text(f"{old}\n")
    secure.command(f"ACL SETUSER penstock on >{old} ~* &* +@all")
    given = settings(f"rediss://penstock@127.0.0.1:{port}", authority, role, file)
    answers, ending = 0, asyncio.Event()

    def logins():
        with redis.Redis(unix_socket_path=str(secure.socket)) as client:
            return client.info("commandstats")["cmdstat_auth"]["calls"]

    async with Links(given.redis) as links:
        link = links.to("{p00}")

        async def ask():
            nonlocal answers
            while not ending.is_set():
                await link.command("SET", "x", answers)
                answers += 1

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        await link.command("PING")
        before = logins()
        # As it is done: both are good for a while.
        secure.command(f"ACL SETUSER penstock >{new}")
        file.write_text(new)
        await until(lambda: logins() > before, 30)
        role.become(authority.issue("renewed", "b.example"))
        secure.command(f"ACL SETUSER penstock <{old}")
        made = link.connections_made
        secure.command("CLIENT KILL USER penstock")
        await until(lambda: link.connections_made > made and link.up, 30)
        ending.set()
        await asyncio.gather(*asking)

    assert answers > 0
    assert redacted(f"{old} {new}") == "*** ***"


async def test_a_cluster_is_reached_over_tls(server, authority, role):
    port, bus = free_ports(2)
    options = ("--cluster-enabled", "yes", "--cluster-port", bus)
    with store(*over_tls(port, server, authority), *options) as one:
        assert one.command("CLUSTER ADDSLOTSRANGE 0 16383") == b"+OK"
        await until(lambda: one.command("SET x 1") == b"+OK", 30)

        given = settings(f"rediss+cluster://127.0.0.1:{port}", authority, role)
        assert await pong(given) == b"PONG"


@contextlib.contextmanager
def sentinel(port, watched, folder, server, authority):
    config = folder / "sentinel.conf"
    config.write_text(
        f"port 0\ntls-port {port}\nbind 127.0.0.1\ndir {folder}\nlogfile {folder}/log\n"
        f"tls-cert-file {server.certificate}\ntls-key-file {server.key}\n"
        f"tls-ca-cert-file {authority.path}\ntls-replication yes\n"
        f"sentinel monitor queue 127.0.0.1 {watched} 1\n"
    )
    words = bound_command(BINARY, str(config), "--sentinel")
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.mark.usefixtures("secure")
async def test_sentinels_are_asked_over_tls(port, server, authority, role, tmp_path, stranger):
    (watching,), log = free_ports(1), tmp_path / "log"
    with sentinel(watching, port, tmp_path, server, authority):
        wait_for(lambda: log.exists() and "+monitor" in log.read_text(), "the Sentinel")
        url = f"rediss+sentinel://127.0.0.1:{watching}/queue"

        async def known():
            # It has to hear of the primary first.
            with contextlib.suppress(StoreUnavailable):
                return await pong(settings(url, authority, role)) == b"PONG"

        await until(known, 30)
        assert "no Sentinel" in await refusal(settings(url, stranger, role))
