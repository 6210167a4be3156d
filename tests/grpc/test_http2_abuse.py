"""HTTP/2 abuse: what one client does by the frame holds up no other, and takes no memory for good.

Each abuse lasts HTTP2_ABUSE_S seconds (1), while a neighbour makes small calls over a connection
of its own. How much the gateway computes during its worst call is compared with its worst one
beside clients that do no wrong, and have as many calls at a time as they may. It is the gateway's
processor time that counts: what else the machine does makes more time pass, and is no hold-up.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from support.clients.http2_abuse import KINDS
from support.memory import memory_of
from support.processes.forks import as_programs
from support.processes.roles import starting
from support.processes.stores import valkey

SECONDS = float(os.environ.get("HTTP2_ABUSE_S", "1"))
CONNECTIONS = int(os.environ.get("HTTP2_ABUSE_CONNECTIONS", "2000"))
SERVED = 500
"""Connections that the gateway takes in this test."""

WORST_S = 0.25
FACTOR = 4
"""In the neighbour's worst call the gateway may compute for WORST_S, or so many times as long as
beside honest clients.
"""

NO_HANDLE = frozenset({"continuation"})
"""gRPC reads headers without end, and tells nobody (ADR 0026): the hold-up is only written down."""

ASIDE_MIB = 200
PROBE = """
import sys, time, grpc, psutil
gateway = psutil.Process(int(sys.argv[2]))
def computed():
    return sum(gateway.cpu_times()[:2])
channel = grpc.insecure_channel(sys.argv[1])
call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
while True:
    began, before = time.monotonic(), computed()
    try:
        call(b"", timeout=30)
        code = "OK"
    except grpc.RpcError as error:
        code = error.code().name
    print(time.monotonic() - began, computed() - before, code, flush=True)
    time.sleep(0.01)
"""

pytestmark = pytest.mark.xdist_group("http2-abuse")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A gateway without models: whatever it is asked, it is asked over HTTP/2."""
    with valkey() as store, starting(tmp_path_factory.mktemp("abuse"), store.url) as start:
        # Its times are looked at: it is what people start.
        with as_programs():
            role = start("gateway", "--port", "0", "--no-metrics", "--max-connections", str(SERVED))
        _wait_for(role.ready.exists)
        yield role, role.ready.read_text()


def _wait_for(condition, seconds=100):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


class Neighbour:
    """A client in a process of its own, which makes one small call after the other.

    Attributes:
        calls: of each the seconds that passed, those that the gateway computed, and the code.
    """

    def __init__(self, address, gateway_pid):
        command = [sys.executable, "-c", PROBE, address, str(gateway_pid)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.calls = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self):
        for line in self._process.stdout:
            if not line.endswith("\n"):
                return  # it was stopped while it wrote
            passed, computed, code = line.split()
            self.calls.append((float(passed), float(computed), code))

    def after(self, count):
        """Wait for *count* more calls; all since the last time this was asked."""
        began = len(self.calls)
        ends = time.monotonic() + 60
        while len(self.calls) < began + count:
            assert time.monotonic() < ends, "the neighbour is not answered"
            time.sleep(0.01)
        return self.take()

    def take(self):
        taken, self.calls = self.calls, []
        return taken

    def close(self):
        self._process.kill()
        self._process.wait()
        self._reading.join()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def neighbour(gateway):
    role, address = gateway
    one = Neighbour(address, role.pid)
    yield one
    one.close()


@pytest.fixture(scope="module")
def honest_worst_s(gateway, neighbour):
    """The neighbour's worst call beside clients that keep the gateway as busy as they may."""
    neighbour.after(20)
    asyncio.run(_abuse("honest", gateway[1]))
    return max(computed for _, computed, _ in neighbour.take() + neighbour.after(2))


async def _abuse(kind, address):
    more = [str(CONNECTIONS)] if kind == "connections" else []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.clients.http2_abuse", kind, address, str(SECONDS), *more),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    told, _ = await process.communicate()
    return json.loads(told)


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_abuse_holds_up_nobody_else(
    gateway, honest_worst_s, neighbour, record_property, kind
):
    role, address = gateway
    await asyncio.to_thread(neighbour.after, 20)

    with memory_of(role.pid) as memory:
        done = await _abuse(kind, address)
        hurt = neighbour.take() + await asyncio.to_thread(neighbour.after, 2)

    worst = max(computed for _, computed, _ in hurt)
    told = {
        "did": done["sent"],
        "calls": len(hurt),
        "median_ms": round(statistics.median(passed for passed, _, _ in hurt) * 1000, 1),
        "worst_ms": round(max(passed for passed, _, _ in hurt) * 1000, 1),
        "worst_computed_ms": round(worst * 1000, 1),
        "worst_computed_beside_honest_ms": round(honest_worst_s * 1000, 1),
        "growth_mib": round(memory.growth_mib, 1),
    }
    record_property(kind, json.dumps(told))
    print(kind, told)
    assert done["sent"] > 0
    assert {code for _, _, code in hurt} == {"OK"}
    assert kind in NO_HANDLE or worst < max(WORST_S, FACTOR * honest_worst_s), told
    assert memory.growth_mib < ASIDE_MIB, told
    assert role.process.poll() is None


async def test_no_more_connections_are_held_than_the_limit_says(gateway):
    role, address = gateway
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.clients.http2_abuse", "connections", address, "3"),
        str(SERVED * 3),
        stdout=asyncio.subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
    )
    own = psutil.Process(role.pid)
    most = 0
    while process.returncode is None:
        held = [one for one in own.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
        most = max(most, len(held))
        await asyncio.sleep(0.05)
        await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=0.001)

    # Some are on their way out while it looks.
    assert SERVED / 2 < most < SERVED * 1.5
