"""The configurations of `deploy/valkey`, each run by the newest Valkey and the oldest Redis."""

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import redis
from redis.exceptions import NoPermissionError
from support.probe import Probe
from support.processes.groups import free_ports, wait_for
from support.waiting import until

from penstock.errors import OutOfMemory
from penstock.process.lifetime import bound_command
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.store.embedded import valkey_binary
from penstock.scheduler.store.link import Links

SHIPPED = Path(__file__).parents[3] / "deploy" / "valkey"
PASSWORDS = dict(
    re.findall(r"^user (\w+) .* >(\S+)", (SHIPPED / "users.acl").read_text(), re.MULTILINE)
)
SERVERS = 3
_SLOTS = 16384


@pytest.fixture(params=["valkey", "redis"])
def binary(request):
    if request.param == "valkey":
        return valkey_binary()
    found = shutil.which("redis-server")
    if found is None:
        missing = "redis-server is missing: install it (Debian: apt-get install redis-server)"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return found


class Deployed:
    """Starts servers with the files that are shipped, each in folders of its own."""

    def __init__(self, binary, folder, stack):
        self._binary = binary
        self._folder = folder
        self._stack = stack

    def start(self, name, port, *options):
        """One with the file *name*; whoever reads it would have changed names and paths as well."""
        place = self._folder / str(port)
        data = place / "data"
        data.mkdir(parents=True)
        for file in SHIPPED.iterdir():
            text = file.read_text().replace("/var/lib/penstock-valkey", str(data))
            text = text.replace("/etc/penstock/valkey", str(place))
            (place / file.name).write_text(text)
        words = ("--port", str(port), "--bind", "127.0.0.1", "--logfile", f"{place}/log", *options)
        command = bound_command(str(self._binary), str(place / name), *words)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=place)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        client = self._stack.enter_context(operator(port))

        def answers():
            assert process.poll() is None, (place / "log").read_text()
            return _try(client.ping)

        wait_for(answers, f"{name} answers")
        return place


def _try(ask):
    try:
        return ask()
    except redis.ConnectionError:
        return False


@pytest.fixture
def deployed(binary, tmp_path):
    with contextlib.ExitStack() as stack:
        yield Deployed(binary, tmp_path, stack)


@contextlib.asynccontextmanager
async def probe_at(url):
    async with Links(url) as links:
        yield Probe(links, await open_queue(links))


async def takes_jobs(probe, *ids):
    """Whether jobs go in and come out, under the rights that `users.acl` gives."""
    await probe.enqueue(*ids)
    claim = await probe.claim(worker=f"worker of {ids[0]}")
    await probe.settle(*claim.leases)
    return {lease.id for lease in claim.leases} == set(ids)


async def test_one_server_takes_jobs_of_its_users_alone(deployed):
    (port,) = free_ports(1)
    place = deployed.start("standalone.conf", port)

    async with probe_at(f"redis://penstock:change-me@127.0.0.1:{port}") as probe:
        assert await takes_jobs(probe, "a", "b")

    with redis.Redis(port=port) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.get("penstock:{registry}:x")
    with (
        redis.Redis(port=port, username="penstock", password=PASSWORDS["penstock"]) as role,
        pytest.raises(NoPermissionError),
    ):
        role.flushall()
    assert list((place / "data").rglob("*.aof"))


async def test_one_that_is_full_refuses_jobs_and_throws_none_away(deployed):
    (port,) = free_ports(1)
    deployed.start("standalone.conf", port, "--maxmemory", "8mb")

    async with probe_at(f"redis://penstock:change-me@127.0.0.1:{port}") as probe:
        with pytest.raises(OutOfMemory):
            await _fill(probe)
        first = await probe.lease(rows=1)

    assert first.id == "job-0"


async def _fill(probe):
    for number in range(1000):
        await probe.enqueue(f"job-{number}", payload=bytes(100_000))


async def test_sentinels_find_another_primary_when_it_is_gone(deployed):
    first, second, port = free_ports(3)
    local = ("--min-replicas-to-write", "0", "--masteruser", "replica")
    local += ("--masterauth", "change-me-too", "--replica-announce-ip", "127.0.0.1")
    deployed.start("standalone.conf", first, *local)
    deployed.start("standalone.conf", second, *local, "--replicaof", f"127.0.0.1 {first}")
    _start_sentinel(deployed, first, port)
    url = f"redis+sentinel://penstock:change-me@127.0.0.1:{port}/penstock"
    with redis.Redis(port=port, decode_responses=True) as sentinel:
        await until(lambda: sentinel.sentinel_masters()["penstock"]["num-slaves"] == 1, 60)
        async with probe_at(url) as probe:
            assert await takes_jobs(probe, "a")
        await until(lambda: _fails_over(sentinel), 60)
        await until(lambda: sentinel.sentinel_get_master_addr_by_name("penstock")[1] == second, 60)
    async with probe_at(url) as probe:
        assert await takes_jobs(probe, "b")


def _fails_over(sentinel):
    try:
        return sentinel.execute_command("SENTINEL", "FAILOVER", "penstock")
    except redis.ResponseError as error:
        # Until it has seen the replica follow.
        assert "NOGOODSLAVE" in str(error)  # noqa: PT017
        return None


def _start_sentinel(deployed, primary, port):
    """One, and it alone decides."""
    place = deployed._folder / str(port)
    place.mkdir()
    text = (SHIPPED / "sentinel.conf").read_text()
    for shipped, here in {
        "/var/lib/penstock-valkey": str(place),
        "valkey-0.example 6379 2": f"127.0.0.1 {primary} 1",
        "sentinel-0.example": "127.0.0.1",
        "port 26379": f"port {port}",
    }.items():
        assert shipped in text
        text = text.replace(shipped, here)
    (place / "sentinel.conf").write_text(text)
    command = bound_command(str(deployed._binary), str(place / "sentinel.conf"), "--sentinel")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deployed._stack.callback(process.wait)
    deployed._stack.callback(process.kill)
    client = deployed._stack.enter_context(redis.Redis(port=port))
    wait_for(lambda: _try(client.ping), "the Sentinel answers")


async def test_servers_of_a_cluster_share_the_slots(deployed):
    found = free_ports(2 * SERVERS)
    ports, buses = found[:SERVERS], found[SERVERS:]
    for port, bus in zip(ports, buses, strict=True):
        options = ("--cluster-port", str(bus), "--cluster-announce-hostname", "localhost")
        deployed.start("cluster.conf", port, *options)
    _join(ports, buses)
    url = f"redis+cluster://penstock:change-me@127.0.0.1:{ports[0]}"
    async with probe_at(url) as probe:
        assert probe.links.clustered
        assert await takes_jobs(probe, "a", "b", "c")


def _join(ports, buses):
    """As `valkey-cli --cluster create` does, by a user who may."""
    for index, port in enumerate(ports):
        with operator(port) as client:
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            share = -(-_SLOTS // SERVERS)
            last = min(_SLOTS, (index + 1) * share) - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", index * share, last)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0], buses[0])
    for port in ports:
        with operator(port) as client:
            wait_for(lambda one=client: _is_whole(one), "the cluster forms")


def _is_whole(client):
    whole = "cluster_state:ok" in client.execute_command("CLUSTER", "INFO")
    return whole and len(client.execute_command("CLUSTER", "SLOTS")) == SERVERS


def operator(port):
    """A client of whoever runs the servers."""
    password = PASSWORDS["operator"]
    return redis.Redis(port=port, username="operator", password=password, decode_responses=True)
