"""Faults on the queue alone: contenders for its jobs are killed, stopped and cut off.

Many more of them than whole clusters could have in the same time, and each worker writes its own
history, so that it is seen who was let write, and not only what came of it.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chaos.engine.contender import MODEL
from chaos.engine.contest import Contest
from support.probe import Probe
from support.processes.proxy import Proxy
from support.waiting import until

from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.roles.reaper import Reaper
from penstock.scheduler.store.link import Links

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

EACH = 3
PER_S = 100


async def hurt(contest, faults, *, deadline_s=60.0):
    """Offer jobs while *faults* happen, and then let all of them end."""
    await contest.crowd(EACH)
    offering = asyncio.create_task(contest.offer_regularly(PER_S, deadline_s))
    await faults
    offering.cancel()
    await asyncio.gather(offering, return_exceptions=True)
    await contest.rest()


async def test_t3_workers_are_killed(run, chance, size, each_store):
    async def killed():
        for _ in range(size(20, 200)):
            await asyncio.sleep(chance.uniform(0.1, 0.4))
            pids = await until(contest.expendable, 30)
            with run.fault("kill"):
                contest.kill(chance.choice(pids))

    async with Contest(run, each_store.url) as contest:
        await hurt(contest, killed())


async def test_t4_workers_are_stopped_and_go_on(run, chance, size, each_store):
    """Half a lease costs nothing; three leases lose them, and what comes late is fenced."""

    async def stopped():
        for _ in range(size(15, 200)):
            leases = chance.choice([0.5, 1.5, 3])
            with run.fault(f"stop {leases}"):
                pid = chance.choice(list(contest.workers))
                await contest.pause(pid, leases * contest.lease_s)

    async with Contest(run, each_store.url, lease_ms=200) as contest:
        await hurt(contest, stopped())


async def test_t2_answers_and_requests_are_lost(run, chance, size, each_store):
    """Every call is sent again, none counts twice, and no job is taken for one that crashed."""

    async def lost():
        for _ in range(size(30, 400)):
            await asyncio.sleep(chance.uniform(0.02, 0.1))
            with run.fault("cut"):
                setattr(proxy, chance.choice(["lose_answers", "lose_requests"]), 1)

    async with (
        Proxy(each_store.socket) as proxy,
        Contest(
            run, each_store.url, worker_url=proxy.url, give_back=0.1, lease_ms=60_000
        ) as contest,
    ):
        await hurt(contest, lost())
        counted = await statistics_of(contest.queue, MODEL, 1)

    assert counted.get("requeued", 0) == 0


async def test_deadlines_hold_under_all_of_it(run, chance, size, each_store):
    """Jobs with hardly any time: each has one reply, and none is begun too late."""

    async def all_of_it():
        for _ in range(size(10, 100)):
            pid = chance.choice(list(contest.workers))
            with run.fault("kill or stop"):
                if chance.random() < 0.5:
                    contest.kill(pid)
                else:
                    await contest.pause(pid, contest.lease_s)

    async with Contest(run, each_store.url, work_s=0.1) as contest:
        await hurt(contest, all_of_it(), deadline_s=0.6)


async def test_t6_the_store_is_killed_and_started_again(run, chance, size, each_store):
    """All that it had written to its log is there again: the kernel has it before the reply."""

    async def killed():
        for _ in range(size(3, 30)):
            await asyncio.sleep(chance.uniform(0.3, 1.0))
            with run.fault("kill store"):
                each_store.kill()
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                await asyncio.to_thread(each_store.start)
            before = len(contest.answered)
            await until(lambda n=before: len(contest.answered) > n, 30)

    async with Contest(run, each_store.url) as contest:
        await hurt(contest, killed())


async def test_killed_reapers_stop_nobody(chance, size, store):
    """Whoever reaps may die in the middle of it: there is nothing that it must release first."""
    async with Links(store.url) as links:
        probe = Probe(links, await open_queue(links))
        for _ in range(size(8, 100)):
            await asyncio.to_thread(reap_and_be_killed, store.url, chance.uniform(0, 0.05))
        await probe.enqueue("a")
        await probe.lease("silent", lease_ms=1)
        reaping = asyncio.create_task(Reaper(probe.queue, interval_s=0.01).run())

        async def queued_again():
            return await probe.waiting() == ["a"]

        try:
            await until(queued_again, 5)
        finally:
            reaping.cancel()


def reap_and_be_killed(url, after_s):
    program = Path(__file__).with_name("engine") / "reaping.py"
    with subprocess.Popen([sys.executable, str(program), url], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(after_s)
        process.kill()
