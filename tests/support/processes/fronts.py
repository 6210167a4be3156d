"""Which gRPC server a test's requests go through, so that all tests together see both.

A file whose clusters are its own has one of the two, by its name. Clusters that files share have a
gateway of each kind: tests that are marked ``both_fronts`` go through each, others through one, by
their name.
"""

import contextlib
import os
import time
from zlib import crc32

import pytest
from support.processes.canaries import PASSWORD
from support.processes.cluster import READY_S, Cluster
from support.processes.roles import Role, end_all
from support.processes.stores import valkey

VARIABLE = "PENSTOCK_GRPC_FRONT"
CHOSEN = os.environ.get(VARIABLE)
"""The only one, where somebody has said so (`make conformance FRONT=asgi`)."""

FRONTS = (CHOSEN,) if CHOSEN else ("aio", "asgi")


def front_of(name):
    """Always the same for a test, or file, of this *name*."""
    return FRONTS[crc32(name.encode()) % len(FRONTS)]


def fronts_of(definition):
    """Those that a test goes through, by its *definition*, which pytest gives."""
    if definition.get_closest_marker("both_fronts"):
        return FRONTS
    return (front_of(definition.nodeid),)


@contextlib.contextmanager
def started_here(file):
    """What is started meanwhile speaks gRPC by the server that is this *file*'s."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(VARIABLE, front_of(file))
        yield


class Beside:
    """A cluster as it is seen through one more gateway.

    Attributes:
        gateway_pid: of that one.
    """

    def __init__(self, cluster, gateway_pid, url, metrics):
        self._cluster = cluster
        self.gateway_pid = gateway_pid
        self._metrics = metrics
        self.url = url

    def __getattr__(self, name):
        return getattr(self._cluster, name)

    def metrics_url(self):
        return f"http://{self._metrics}/metrics"


@contextlib.contextmanager
def serving_both(folder, models, *options, environment=None):
    """Front -> a cluster that serves *models*, seen through a gateway with that front.

    *options* are for what starts the cluster; what all its gateways need is in *environment*. The
    store is the cluster's `store`.
    """
    first, *others = FRONTS
    with valkey() as store:
        store.command(f"CONFIG SET requirepass {PASSWORD}")
        url = f"unix://:{PASSWORD}@{store.socket}"
        options = ("--redis", url, "--grpc-front", first, *options)
        own = Cluster(folder, models, *options, environment=environment)
        with own.running(), _beside(folder, url, others, environment) as found:
            own.store = store
            yield {first: own} | {
                front: Beside(own, role.pid, url, metrics) for front, role, url, metrics in found
            }


@contextlib.contextmanager
def _beside(folder, redis, fronts, environment):
    """Gateways on the store *redis*: (front, role, address, that of its metrics) each."""
    started = []
    try:
        for front in fronts:
            metrics = folder / f"metrics-{front}"
            options = ("--redis", redis, "--port", "0", "--grpc-front", front)
            options += ("--metrics-port", "0", "--metrics-file", str(metrics))
            role = Role(folder, "gateway", *options, environment=environment)
            started.append((role, front, metrics))
        yield [
            (front, role, _address(role), metrics.read_text()) for role, front, metrics in started
        ]
    finally:
        end_all([role for role, *_ in started])


def _address(role):
    late = time.monotonic() + READY_S
    while not role.ready.exists():
        assert role.process.poll() is None, role.log.read_text()
        assert time.monotonic() < late, role.log.read_text()
        time.sleep(0.02)
    return role.ready.read_text().strip()
