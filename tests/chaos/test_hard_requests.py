"""T11 and T12: requests that end their workers, and more of them than can be served."""

import asyncio
import contextlib
import os
import signal

import pytest
from chaos.engine.clients import Patients
from chaos.engine.deployment import Deployment
from chaos.engine.history import OK
from support.models.onnx_models import write_slow
from support.probe import Probe

from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.link import Links

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

SLOW = {"model": "slow", "version": 1}
POISON = "poison"
ENDS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGSTOP)


def slow(folder, *, most_rows, replicas, batching):
    """A repository with a model that takes as long as it is asked to."""
    entry = write_slow(folder / "models", max_batch=most_rows)
    with (entry / "config.pbtxt").open("a") as file:
        file.write(f"dynamic_batching {{ {batching} }}\n")
        file.write(f"instance_group [{{ count: {replicas} kind: KIND_CPU }}]\n")
    return folder / "models"


class Executioner:
    """Ends each worker that holds a job which calls itself poison, as a poisonous input would.

    No artifact could do that by itself: what the runtimes run cannot exit, nor be made to crash.
    """

    def __init__(self, url, chance, lease_s):
        self._url = url
        self._chance = chance
        self._lease_s = lease_s
        self._hanging = []
        self.ended = []

    async def run(self):
        """End workers until cancelled; none is left hanging."""
        try:
            await self._watch()
        finally:
            await asyncio.gather(*self._hanging)

    async def _watch(self):
        async with Links(self._url) as links:
            probe = Probe(links, await open_queue(links))
            registry = Registry(links)
            while True:
                await asyncio.sleep(0.01)
                for id_ in await probe.members(probe.keys.lease):
                    words = ("payload", "token", "state")
                    payload, token, state = await probe.command(
                        "HMGET", probe.keys.jobs + id_, *words
                    )
                    if state == b"leased" and POISON.encode() in payload:
                        await self._end(registry, token.decode().partition(".")[0])

    async def _end(self, registry, boot_id):
        workers = (await registry.snapshot()).workers.values()
        pid = next((one.pid for one in workers if one.boot_id == boot_id), 0)
        if not pid or boot_id in self.ended:
            return
        self.ended.append(boot_id)
        how = self._chance.choice(ENDS)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
            if how is signal.SIGSTOP:
                self._hanging.append(asyncio.create_task(self._hang(pid)))

    async def _hang(self, pid):
        """It hangs for longer than its lease; meanwhile another one may get the job."""
        await asyncio.sleep(1.5 * self._lease_s)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_t11_poison_harms_nobody_else(run, chance, size, store, tmp_path):
    """It is set aside after two crashes, the second one alone; all that shared a batch succeed."""
    models = slow(tmp_path, most_rows=4, replicas=2, batching="")
    options = {"gateways": 1, "deadline_s": 60.0, "lease_ms": 500}
    async with (
        Deployment(tmp_path, store.url, models, **options) as penstock,
        Patients(run, penstock.urls[0], penstock.deadline_s) as patients,
    ):
        executioner = Executioner(store.url, chance, 0.5)
        ending = asyncio.create_task(executioner.run())
        for _ in range(size(2, 30)):
            with run.fault(POISON):
                mates = [patients.ask(chance.uniform(0.02, 0.1)) for _ in range(12)]
                poison = patients.ask(1.0, POISON, allowed=["INTERNAL: job"])
                await asyncio.gather(*mates[:3], poison, *mates[3:])
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        await penstock.rest(run, **SLOW)

    answered = run.ids("infer", OK)
    assert executioner.ended
    assert not any(id_.startswith(POISON) for id_ in answered)


async def test_a_job_longer_than_its_lease_is_run_once(run, store, tmp_path):
    """The worker renews what it holds, however long the runtime takes."""
    models = slow(tmp_path, most_rows=4, replicas=2, batching="")
    options = {"gateways": 1, "deadline_s": 30.0, "lease_ms": 300}
    async with (
        Deployment(tmp_path, store.url, models, **options) as penstock,
        Patients(run, penstock.urls[0], penstock.deadline_s) as patients,
    ):
        await asyncio.gather(*(patients.ask(1.5) for _ in range(3)))
        await penstock.rest(run, **SLOW)
        async with Links(store.url) as links:
            counted = await statistics_of(await open_queue(links), "slow", 1)

    assert counted.get("requeued", 0) == 0


TAKES_S = 0.1
"""About what each request takes: how much it is on this machine now is measured. With faster ones
the test would show how fast those who ask are."""

QUEUES = {
    "short queue": "default_queue_policy { max_queue_size: 4 }",
    "any queue": "",
}


@pytest.mark.parametrize("queue", QUEUES)
async def test_t12_five_times_as_many_requests(run, size, store, tmp_path, queue):
    """Refusals say why, answers still come, and memory stays flat."""
    refusals = (f"{code}: [request id: call-" for code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"))
    run.may(*refusals, "DEADLINE_EXCEEDED")
    seconds = size(5, 60)
    models = slow(tmp_path, most_rows=1, replicas=1, batching=QUEUES[queue])
    async with (
        Deployment(tmp_path, store.url, models, gateways=1, deadline_s=1.0) as penstock,
        Patients(run, penstock.urls[0], penstock.deadline_s) as patients,
    ):
        most_per_s = await throughput(patients, size.of(1.5, 10))
        with run.fault("five times as many"):
            await open_loop(patients, 5 * most_per_s, 1)
            before, answered = penstock.memory(), patients.answered
            asked_per_s = await open_loop(patients, 5 * most_per_s, seconds)
        for name, megabytes in penstock.memory().items():
            run.gauge(f"memory of {name}", megabytes, before[name] + 40)
        await penstock.rest(run, **SLOW)

    # As many as the machine's callers come to, which share its cores with what they ask.
    assert asked_per_s > 2 * most_per_s
    # The machine is shared with the callers, and perhaps with others: some answers come all along.
    assert patients.answered - answered > most_per_s * seconds / 10


async def throughput(patients, seconds):
    """Answers a second, where one request waits while one runs."""
    loop = asyncio.get_running_loop()
    began_s, before = loop.time(), patients.answered

    async def ask_on():
        while loop.time() < began_s + seconds:
            await patients.ask(TAKES_S)

    await asyncio.gather(ask_on(), ask_on())
    return (patients.answered - before) / (loop.time() - began_s)


async def open_loop(patients, per_s, seconds):
    """Calls at a steady pace, however long they take; how many a second it came to."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    count = int(per_s * seconds)
    async with asyncio.TaskGroup() as tasks:
        for place in range(count):
            await asyncio.sleep(began_s + place / per_s - loop.time())
            tasks.create_task(patients.ask(TAKES_S))
        asked_s = loop.time() - began_s
    return count / asked_s
