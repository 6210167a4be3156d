"""T7 and T9 on stores of several servers: one is promoted in another's place, a slot moves."""

import asyncio
import os
import signal

import pytest
from chaos.engine.clients import Callers
from chaos.engine.deployment import MODEL, Deployment, digits, recovered
from support.clients.load import eventually
from support.processes.groups import ClusterGroup, SentinelGroup

from penstock.scheduler.store.keys import RegistryKeys, partition_of, partition_tag
from penstock.scheduler.store.keyspace import CLUSTER_PARTITIONS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
SOON_S = 20.0
JOBS = partition_tag(partition_of(MODEL, CLUSTER_PARTITIONS))


@pytest.fixture
def models(tmp_path):
    return digits(tmp_path, replicas=1)


async def test_t7_a_sentinel_promotes_the_replica(run, chance, size, models, tmp_path):
    """The old primary is stopped, not killed: it comes back and believes what it last heard."""
    run.may(*AWAY, lossy=True)
    with SentinelGroup() as group:
        async with Deployment(tmp_path, group.url, models) as penstock:
            async with Callers(run, penstock.urls[0], penstock.deadline_s):
                for place in range(size(1, 20)):
                    if place:
                        await eventually(group.whole)
                    await asyncio.sleep(chance.uniform(0.1, 1.0))
                    first = await asyncio.to_thread(group.primary)
                    with run.fault("failover"):
                        os.kill(first.process.pid, signal.SIGSTOP)
                        await eventually(lambda f=first: group.primary() is not f)
                        await asyncio.sleep(chance.uniform(0, 1))
                        os.kill(first.process.pid, signal.SIGCONT)
                    await recovered(run, 40, SOON_S, "failover")
            await penstock.rest(run)


async def test_t7_a_cluster_promotes_a_replica(run, chance, size, models, tmp_path):
    run.may(*AWAY, lossy=True)
    with ClusterGroup(replicas=True) as group:
        async with Deployment(tmp_path, group.url, models) as penstock:
            async with Callers(run, penstock.urls[0], penstock.deadline_s):
                for place in range(size(1, 20)):
                    if place:
                        await eventually(group.whole)
                    await asyncio.sleep(chance.uniform(0.1, 1.0))
                    key = chance.choice([JOBS, JOBS, RegistryKeys.tag])
                    first = await asyncio.to_thread(group.owner, key)
                    with run.fault(f"failover of {key}"):
                        os.kill(group.stores[first].process.pid, signal.SIGSTOP)
                        await eventually(lambda k=key, f=first: group.owner(k, but=f) != f)
                        await asyncio.sleep(chance.uniform(0, 1))
                        os.kill(group.stores[first].process.pid, signal.SIGCONT)
                    await recovered(run, 40, SOON_S, "failover")
            await penstock.rest(run)


async def test_t9_a_slot_moves(run, chance, size, models, tmp_path):
    """Calls wait while the keys of their jobs are half here and half there."""
    run.may(*AWAY)
    with ClusterGroup() as group:
        async with Deployment(tmp_path, group.url, models) as penstock:
            async with Callers(run, penstock.urls[0], penstock.deadline_s) as callers:
                for key in [JOBS, RegistryKeys.tag] * size(1, 10):
                    source = group.owner(key)
                    target = chance.choice([i for i in range(3) if i != source])
                    with run.fault(f"slot of {key} moves"):
                        await asyncio.to_thread(group.move_slot, key, target)
                    await recovered(run, 40, SOON_S, "slot moved")
                await callers.more(20)
            await penstock.rest(run)
