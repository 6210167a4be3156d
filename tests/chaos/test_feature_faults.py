"""Faults under keys, sequences, ensembles and large requests, all at once on one cluster."""

import asyncio
import contextlib
import os
import signal

import pytest
from chaos.engine.deployment import Deployment
from chaos.engine.workloads import (
    CHAIN,
    MODELS,
    Bulk,
    Chains,
    KeyHolders,
    Sequences,
    expected,
    write_models,
)
from support.processes.stores import valkey

from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.store.keyspace import CLUSTER_PARTITIONS
from penstock.scheduler.store.link import Links

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


async def test_keys_sequences_and_ensembles_outlive_all_of_it(run, chance, size, tmp_path):
    """T3, T5, T6 and T13: workers, a gateway and the store are killed, all roles are restarted.

    The keyspace has the partitions of a Redis Cluster, so the ensemble's jobs go from slot to slot.
    All clients but those with keys know the first gateway, which is restarted in order.
    """
    run.expected = expected
    with valkey("--appendfsync", "no") as store:
        async with Links(store.url) as links:
            await open_queue(links, CLUSTER_PARTITIONS)
        models = write_models(tmp_path, run.folder)
        options = {"nodes": 2, "deadline_s": 30.0, "node_words": ("--allow-python-models",)}
        async with Deployment(tmp_path, store.url, models, **options) as penstock:
            first, second = penstock.urls
            crowds = [
                KeyHolders(run, [second, first], penstock.deadline_s),
                Sequences(run, first, penstock.deadline_s),
                Chains(run, first, penstock.deadline_s),
                Bulk(run, first, penstock.deadline_s),
            ]
            faults = Faults(penstock, store, chance)
            async with crowds[0], crowds[1], crowds[2], crowds[3]:
                for number in range(size(len(faults.all), 60)):
                    # Each once, however few there are.
                    every = faults.all
                    hurt = every[number] if number < len(every) else chance.choice(every)
                    await asyncio.sleep(chance.uniform(0.0, 0.2))
                    with run.fault(hurt.__name__):
                        await hurt()
                    await asyncio.gather(*(crowd.more(10) for crowd in crowds))
            for model in MODELS:
                await penstock.rest(run, model=model, version=1)
            await penstock.rest(run, model=CHAIN, version=1, ensemble=True)


class Faults:
    """What is done to a deployment, one thing at a time.

    Attributes:
        all: each of them.
    """

    def __init__(self, penstock, store, chance):
        self._penstock, self._store, self._chance = penstock, store, chance
        self.all = [
            self.kill_workers,
            self.kill_store,
            self.kill_gateway,
            self.restart_gateway,
            self.restart_node,
            self.restart_scheduler,
        ]

    async def kill_workers(self):
        """A third of them at once."""
        pids = self._penstock.worker_pids()
        for pid in self._chance.sample(pids, len(pids) // 3):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def kill_store(self):
        """It comes back with all that it has confirmed."""
        self._store.kill()
        await asyncio.sleep(self._chance.uniform(0.0, 0.5))
        await asyncio.to_thread(self._store.start)

    async def kill_gateway(self):
        """The second one, in the middle of what it does for clients with keys."""
        self._penstock.gateways[1].process.kill()
        self._penstock.gateways[1].process.wait()
        await self._penstock.replace(self._penstock.gateways, 1)

    async def restart_gateway(self):
        await self._restart(self._penstock.gateways, 0)

    async def restart_node(self):
        await self._restart(self._penstock.nodes, self._chance.randrange(2))
        await self._penstock.all_work()

    async def restart_scheduler(self):
        await self._restart(self._penstock.schedulers, 0)

    async def _restart(self, roles, place):
        assert await self._penstock.restart(roles, place) == 0, self._penstock.logs()
