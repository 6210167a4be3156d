"""Several servers that act as one: a primary with a replica and a Sentinel, and a Cluster."""

import contextlib
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import redis
from support.processes.stores import valkey

from penstock.process.lifetime import bound_command
from penstock.scheduler.store.embedded import valkey_binary

READY_S = 30.0
SERVICE = "queue"
_SLOTS = 16384
_PRIMARIES = 3


def free_ports(count):
    """Ports on which nobody listens now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def tcp_valkey(port, *options):
    """A Valkey that listens on loopback as well as on its socket."""
    return valkey("--bind", "127.0.0.1", "--port", str(port), *options)


def asked(store):
    """A blocking client of a server in a group."""
    return redis.Redis(unix_socket_path=str(store.socket), decode_responses=True)


def wait_for(condition, what):
    deadline = time.monotonic() + READY_S
    while not condition():
        assert time.monotonic() < deadline, f"not in {READY_S:.0f} s: {what}"
        time.sleep(0.02)


class SentinelGroup:
    """A primary, its replica, and the Sentinel that watches them.

    Attributes:
        url: what `Links` takes; the first Sentinel that it names is not there.
    """

    def __init__(self):
        self._ports = free_ports(4)
        first, second, port, nobody = self._ports
        self.stores = [
            tcp_valkey(first, "--repl-diskless-sync-delay", "0"),
            tcp_valkey(second, "--replicaof", f"127.0.0.1 {first}"),
        ]
        self._port = port
        self.url = f"redis+sentinel://127.0.0.1:{nobody},127.0.0.1:{port}/{SERVICE}"

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for store in self.stores:
                stack.enter_context(store)
            wait_for(self._replicated, "the replica follows its primary")
            stack.enter_context(self._sentinel())
            self._client = stack.enter_context(redis.Redis(port=self._port, decode_responses=True))
            wait_for(self._watched, "the Sentinel knows the replica")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def primary(self):
        """The server that the Sentinel names."""
        _, port = self._client.sentinel_get_master_addr_by_name(SERVICE)
        return self.stores[self._ports.index(int(port))]

    def _replicated(self):
        with asked(self.stores[1]) as client:
            return client.info("replication")["master_link_status"] == "up"

    def whole(self):
        """Whether the primary has its replica again."""
        with asked(next(s for s in self.stores if s is not self.primary())) as client:
            return _follows(client)

    def _watched(self):
        try:
            (state,) = self._client.sentinel_masters().values()
        except redis.ConnectionError:
            return False
        return state["num-slaves"] == 1

    @contextlib.contextmanager
    def _sentinel(self):
        with tempfile.TemporaryDirectory(prefix="test-penstock-", dir="/tmp") as folder:
            config = Path(folder) / "sentinel.conf"
            config.write_text(
                f"port {self._port}\n"
                "bind 127.0.0.1\n"
                f"dir {folder}\n"
                f"logfile {folder}/log\n"
                f"sentinel monitor {SERVICE} 127.0.0.1 {self._ports[0]} 1\n"
                f"sentinel down-after-milliseconds {SERVICE} 500\n"
                f"sentinel failover-timeout {SERVICE} 5000\n"
            )
            command = bound_command(str(valkey_binary()), str(config), "--sentinel")
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            try:
                yield
            finally:
                process.kill()
                process.wait()


class ClusterGroup:
    """Three primaries that share the slots, each with a replica if so wanted.

    Attributes:
        url: what `Links` takes; the first server that it names is not there.
    """

    def __init__(self, *, replicas=False, node_timeout_ms=2000):
        """*node_timeout_ms*: after which the others miss a server; 15,000 unless one says so."""
        count = 2 * _PRIMARIES if replicas else _PRIMARIES
        nobody, *ports = free_ports(2 * count + 1)
        self._ports, self._buses = ports[:count], ports[count:]
        self.stores = [
            tcp_valkey(
                port,
                *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
                *("--cluster-node-timeout", str(node_timeout_ms)),
                *("--cluster-config-file", "nodes.conf"),
            )
            for port, bus in zip(self._ports, self._buses, strict=True)
        ]
        hosts = ",".join(f"127.0.0.1:{port}" for port in (nobody, *self._ports))
        self.url = f"redis+cluster://{hosts}"

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for store in self.stores:
                stack.enter_context(store)
            self.clients = [stack.enter_context(asked(store)) for store in self.stores]
            self._ids = [client.execute_command("CLUSTER", "MYID") for client in self.clients]
            self._join()
            self.wait_until_formed()
            self._follow()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def owner(self, key, but=None):
        """The index of the server that has the key's slot; *but* is not asked, it is stopped."""
        client = next(one for index, one in enumerate(self.clients) if index != but)
        slot = client.execute_command("CLUSTER", "KEYSLOT", key)
        for first, last, primary, *_ in client.execute_command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return self._ids.index(primary[2])
        raise AssertionError(f"nobody has slot {slot}")

    def wait_until_formed(self):
        wait_for(self._formed, "the cluster forms")

    def empty(self):
        for client in self.clients:
            client.flushall()

    def _join(self):
        share = -(-_SLOTS // _PRIMARIES)
        for index, client in enumerate(self.clients):
            last = min(_SLOTS, (index + 1) * share) - 1
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            if index < _PRIMARIES:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", index * share, last)
            if index:
                port, bus = self._ports[0], self._buses[0]
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)

    def _follow(self):
        primaries = self.clients[:_PRIMARIES]
        replicas = self.clients[_PRIMARIES:]
        for primary, replica in zip(primaries, replicas, strict=bool(replicas)):
            replica.execute_command("CLUSTER", "REPLICATE", self._ids[self.clients.index(primary)])
        for replica in replicas:
            wait_for(lambda one=replica: _follows(one), "a replica follows its primary")

    def whole(self):
        """Whether each primary has its replica again."""
        told = [client.info("replication") for client in self.clients]
        replicas = [one for one in told if one["role"] == "slave"]
        up = [one for one in replicas if one["master_link_status"] == "up"]
        return len(up) == len(self.clients) - _PRIMARIES

    def move_slot(self, key, target):
        """Move the slot of *key* to another server, with all that is in it, while it is used."""
        source = self.owner(key)
        slot = self.clients[0].execute_command("CLUSTER", "KEYSLOT", key)
        ids = self._ids
        giving, taking = self.clients[source], self.clients[target]
        taking.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        giving.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        while keys := giving.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            place = ("127.0.0.1", self._ports[target])
            giving.execute_command("MIGRATE", *place, "", 0, 5000, "KEYS", *keys)
        for client in (taking, giving, *self.clients):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])

    def _formed(self):
        count = len(self.clients)
        wanted = {"cluster_state:ok", f"cluster_known_nodes:{count}", f"cluster_size:{_PRIMARIES}"}
        told = (str(client.execute_command("CLUSTER", "INFO")) for client in self.clients)
        return all(wanted <= set(text.split()) for text in told)


def _follows(client):
    told = client.info("replication")
    return told["role"] == "slave" and told["master_link_status"] == "up"
