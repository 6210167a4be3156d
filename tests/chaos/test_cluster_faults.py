"""Faults on whole clusters: whatever is killed, stopped or cut off, clients get what was promised.

Callers bring no deadline: that a call ends in time is the gateway's doing, not grpc's.
"""

import asyncio
import contextlib
import os
import signal

import pytest
from chaos.engine.checker import GRACE_S
from chaos.engine.clients import Callers, Customers, cancelled_at_random
from chaos.engine.deployment import LEASE_MS, Deployment, digits, recovered
from support.clients.load import eventually
from support.processes.proxy import Proxy
from support.processes.stores import valkey

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
# Chance may kill a worker twice under the same job, the second time alone: I7 sets it aside.
SET_ASIDE = "INTERNAL: job"
SOON_S = 15.0


@pytest.fixture
def models(tmp_path):
    return digits(tmp_path)


async def test_t3_workers_are_killed(run, chance, size, store, models, tmp_path):
    run.may(SET_ASIDE)
    async with (
        Deployment(tmp_path, store.url, models, deadline_s=30.0) as penstock,
        Callers(run, penstock.urls[0], penstock.deadline_s) as callers,
    ):
        for _ in range(size(6, 40)):
            await asyncio.sleep(chance.uniform(0.2, size.of(0.6, 2.0)))
            with run.fault("kill worker"), contextlib.suppress(IndexError, ProcessLookupError):
                os.kill(chance.choice(penstock.worker_pids()), signal.SIGKILL)
        await callers.more(50)
        await callers.__aexit__()
        await penstock.rest(run)


async def test_t4_workers_are_stopped_and_go_on(run, chance, size, store, models, tmp_path):
    run.may(SET_ASIDE)
    async with Deployment(tmp_path, store.url, models, deadline_s=30.0) as penstock:
        async with Callers(run, penstock.urls[0], penstock.deadline_s) as callers:
            for _ in range(size(4, 60)):
                leases = chance.choice([0.5, 1.5, 3])
                pid = chance.choice(penstock.worker_pids())
                with run.fault(f"stop {leases} leases"):
                    os.kill(pid, signal.SIGSTOP)
                    await asyncio.sleep(leases * LEASE_MS / 1000)
                    os.kill(pid, signal.SIGCONT)
                await callers.more(20)
        await penstock.rest(run)


async def test_t5_a_gateway_is_killed_in_flight(run, chance, size, store, models, tmp_path):
    """Its clients go to the other one; its jobs, which waited for stopped workers, vanish."""
    async with Deployment(tmp_path, store.url, models) as penstock:
        async with Customers(run, penstock.urls) as customers:
            for place in range(size(3, 50)):
                workers = penstock.worker_pids()
                with run.fault("kill gateway"):
                    for pid in workers:
                        os.kill(pid, signal.SIGSTOP)
                    await asyncio.sleep(chance.uniform(0.05, 0.3))
                    gateway = penstock.gateways[place % 2]
                    gateway.process.kill()
                    for pid in workers:
                        os.kill(pid, signal.SIGCONT)
                    gateway.process.wait()
                await customers.more(20)
                await penstock.replace(penstock.gateways, place % 2)
        await penstock.rest(run)
        await penstock.only_live_gateways()


@pytest.mark.parametrize("cut", [False, True], ids=["whole log", "log cut off"])
async def test_t6_the_store_is_killed(run, chance, size, models, tmp_path, cut):
    run.may(*AWAY, lossy=cut)
    with valkey("--appendfsync", "everysec" if cut else "no") as store:
        async with Deployment(tmp_path, store.url, models) as penstock:
            async with Callers(run, penstock.urls[0], penstock.deadline_s):
                for _ in range(size(2, 15)):
                    with run.fault("kill store"):
                        store.kill()
                        if cut:
                            cut_tail(store, chance.randrange(200_000))
                        await asyncio.sleep(chance.uniform(0.0, 1.0))
                        await asyncio.to_thread(store.start)
                    await recovered(run, 40, SOON_S, "kill store")
            await penstock.rest(run)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_t6_an_outage_longer_than_any_deadline(run, size, store, models, tmp_path, how):
    """Nobody can be asked and nothing comes, and still each call ends in time."""
    run.may(*AWAY)
    async with Deployment(tmp_path, store.url, models, deadline_s=1.5) as penstock:
        async with Callers(run, penstock.urls[0], penstock.deadline_s):
            for _ in range(size(1, 10)):
                with run.fault(f"store is {how}"):
                    os.kill(store.process.pid, signal.SIGSTOP)
                    if how == "killed":
                        store.kill()
                    await asyncio.sleep(2 * penstock.deadline_s + GRACE_S)
                    if how == "killed":
                        await asyncio.to_thread(store.start)
                    os.kill(store.process.pid, signal.SIGCONT)
                await recovered(run, 40, SOON_S, "outage")
        await penstock.rest(run)


def cut_tail(store, most):
    """What was written last did not reach the disk; loading goes on before what is cut in two."""
    log = max(store.directory.glob("appendonlydir/*.incr.aof"), key=lambda p: p.stat().st_mtime)
    with log.open("r+b") as file:
        file.truncate(max(log.stat().st_size - most, log.stat().st_size // 2))


WAYS = {
    "answers": ["answers_pass"],
    "requests": ["requests_pass"],
    "both": ["answers_pass", "requests_pass"],
}


@pytest.mark.parametrize("role", ["gateway", "node-0"])
async def test_t8_a_partition(run, chance, size, store, models, tmp_path, role):
    """A gateway, or a node with its workers, is cut off; what was said arrives in the end."""
    run.may(*AWAY, SET_ASIDE)
    async with Proxy(store.socket) as proxy:
        options = {"nodes": 2, "gateways": 1, "urls": {role: proxy.url}, "deadline_s": 8.0}
        async with Deployment(tmp_path, store.url, models, **options) as penstock:
            async with Callers(run, penstock.urls[0], penstock.deadline_s):
                for way in list(WAYS) * size(1, 8):
                    made = proxy.connections
                    seconds = chance.uniform(*size.of((0.5, 2.5), (1, 30)))
                    with run.fault(f"{way} held back"):
                        gates = [getattr(proxy, name) for name in WAYS[way]]
                        for gate in gates:
                            gate.clear()
                        await asyncio.sleep(seconds)
                        for gate in gates:
                            gate.set()
                    await recovered(run, 40, SOON_S, f"{way} held back")
                    run.gauge("connections made", proxy.connections - made, 60 + 20 * seconds)
            await penstock.rest(run)


async def test_t9_scripts_and_connections_are_forgotten(run, size, store, models, tmp_path):
    async with Deployment(tmp_path, store.url, models) as penstock:
        async with Callers(run, penstock.urls[0], penstock.deadline_s) as callers:
            for _ in range(size(3, 20)):
                with run.fault("script flush"):
                    store.command("SCRIPT FLUSH")
                await callers.more(30)
                with run.fault("client kill"):
                    store.command("CLIENT KILL TYPE normal")
                await callers.more(30)
        await penstock.rest(run)


async def test_t9_memory_is_full(run, size, store, models, tmp_path):
    """New requests are refused by name, and taken again as soon as there is room."""
    run.may("RESOURCE_EXHAUSTED: the queue's memory is full")
    async with Deployment(tmp_path, store.url, models) as penstock:
        async with Callers(run, penstock.urls[0], penstock.deadline_s):
            for _ in range(size(2, 20)):
                refused = run.recorder.told["infer", "fail"]
                with run.fault("memory full"):
                    store.command("CONFIG SET maxmemory 1")
                    await eventually(lambda n=refused: run.recorder.told["infer", "fail"] > n + 9)
                    store.command("CONFIG SET maxmemory 0")
                await recovered(run, 40, SOON_S, "memory full")
        await penstock.rest(run)


async def test_t10_most_clients_give_up(run, chance, size, store, models, tmp_path):
    """Memory and sockets are as they were, and nothing of the calls is left."""
    run.may("CANCELLED")
    count = size(1500, 100_000)
    async with (
        Deployment(tmp_path, store.url, models, gateways=1) as penstock,
        Callers(run, penstock.urls[0], penstock.deadline_s, clients=1) as callers,
    ):
        await cancelled_at_random(callers, chance, count // 3, 0.03)
        before, sockets = penstock.memory(), penstock.sockets()
        await cancelled_at_random(callers, chance, count, 0.03)
        await callers.__aexit__()
        await penstock.rest(run)
        for name, megabytes in penstock.memory().items():
            run.gauge(f"memory of {name}", megabytes, before[name] + 40)
        for name, open_now in penstock.sockets().items():
            run.gauge(f"sockets of {name}", open_now, sockets[name] + 4)


@pytest.mark.parametrize(
    "kinds",
    [["gateways"], ["nodes", "schedulers"]],
    ids=["gateways", "all others"],
)
async def test_t13_everything_is_restarted_in_turn(run, size, store, models, tmp_path, kinds):
    """No request fails."""
    options = {"nodes": 2, "deadline_s": 30.0}
    async with Deployment(tmp_path, store.url, models, **options) as penstock:
        async with Customers(run, penstock.urls) as customers:
            for kind in kinds * size(1, 5):
                roles = getattr(penstock, kind)
                for place in range(len(roles)):
                    with run.fault(f"restart one of the {kind}"):
                        status = await penstock.restart(roles, place)
                        assert status == 0, penstock.logs()
                    await penstock.all_work()
                    await customers.more(30)
        await penstock.rest(run)


async def test_t14_workers_that_gateways_hand_jobs_to(run, chance, size, store, tmp_path):
    """One stage, and workers that sleep between requests: little goes through the queue."""
    run.may(SET_ASIDE)
    models = digits(tmp_path, version=1)
    async with Deployment(tmp_path, store.url, models, deadline_s=30.0) as penstock:
        one, other = (
            Callers(run, url, penstock.deadline_s, clients=4, version=1) for url in penstock.urls
        )
        other.name = "other"
        async with one, other:
            for _ in range(size(8, 60)):
                await asyncio.sleep(chance.uniform(0.2, size.of(0.6, 2.0)))
                pid = chance.choice(penstock.worker_pids() or [0])
                how = chance.choice(["kill", "stop"])
                with run.fault(f"{how} worker"), contextlib.suppress(ProcessLookupError):
                    if pid and how == "kill":
                        os.kill(pid, signal.SIGKILL)
                    elif pid:
                        os.kill(pid, signal.SIGSTOP)
                        await asyncio.sleep(chance.uniform(0, 3))
                        os.kill(pid, signal.SIGCONT)
                await one.more(20)
                await other.more(20)
        counters = await penstock.rest(run, version=1)
    assert counters["direct"] > 100
