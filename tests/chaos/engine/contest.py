"""Contenders against each other: a crowd of worker processes, one queue, and who asks them."""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import psutil
from chaos.engine.contender import MODEL, REFS
from chaos.engine.history import FAIL, INVOKE, OK
from support.probe import Probe
from support.processes.forks import Template
from support.waiting import until

from penstock.errors import PenstockError
from penstock.models.config.policies import QueueLimits
from penstock.process.command_line import ROOM
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.roles.reaper import Reaper
from penstock.scheduler.store.link import Links

GATEWAY = "gateway-of-the-test"
_TESTS = Path(__file__).parents[2]
_PROGRAM = (sys.executable, str(_TESTS / "chaos" / "engine" / "contender.py"))
_PATH = f"{_TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


class Contest:
    """A queue with a gateway and a reaper in this process, and workers in others.

    Attributes:
        answered: ids that have a reply.
    """

    def __init__(self, run, url, *, lease_ms=300, work_s=0.05, give_back=0.0, worker_url=None):
        self._run = run
        self._url = url
        self._options = {"lease-ms": lease_ms, "work-s": work_s, "give-back": give_back}
        self._worker_url = worker_url or url
        self._numbers = itertools.count()
        self._ids = itertools.count()
        self.lease_s = lease_ms / 1000
        self.workers = {}
        self._histories = {}
        self.accepted, self.answered = set(), set()

    async def __aenter__(self):
        async with contextlib.AsyncExitStack() as stack:
            self._contenders = Template([*_PROGRAM, ROOM], PYTHONPATH=_PATH)
            stack.callback(self._contenders.close)
            self.links = await stack.enter_async_context(Links(self._url, patience_s=20))
            self.queue = await open_queue(self.links)
            self.probe = Probe(self.links, self.queue)
            reader = ReplyReader(self.links, self.queue.partitions, GATEWAY, self._deliver)
            await reader.heartbeat()
            tasks = [
                asyncio.create_task(reader.run()),
                asyncio.create_task(Reaper(self.queue, interval_s=0.1).run()),
            ]
            for task in tasks:
                stack.callback(task.cancel)
            stack.callback(self._kill_all)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_):
        await self._stack.aclose()

    def start(self, stage):
        """Start one more worker of a stage; its process."""
        number = next(self._numbers)
        words = {
            "url": self._worker_url,
            "history": self._run.folder,
            "boot-id": f"contender-{number}",
            "stage": stage,
            "seed": 1000 * self._run.seed + number,
            **self._options,
        }
        options = (f"--{name}={value}" for name, value in words.items())
        with (self._run.folder / f"{words['boot-id']}.log").open("wb") as log:
            process = self._contenders.fork([*_PROGRAM, *options], dict(os.environ), log.fileno())
        self.workers[process.pid] = (process, stage)
        self._histories[process.pid] = self._run.folder / f"{words['boot-id']}.jsonl"
        return process

    async def crowd(self, each):
        """So many workers of each stage, and wait until all of them work."""
        for stage in range(len(REFS)):
            for _ in range(each):
                self.start(stage)

        await until(lambda: len(self.at_work()) == len(REFS) * each, 30)

    def at_work(self):
        """The workers that have written that they are ready."""
        return [pid for pid, history in self._histories.items() if _has_begun(history)]

    def expendable(self):
        """Those at work of whose stage there is another one at work."""
        stages = {pid: self.workers[pid][1] for pid in self.at_work()}
        count = Counter(stages.values())
        return [pid for pid, stage in stages.items() if count[stage] > 1]

    def kill(self, pid):
        """End a worker at once; another takes its place."""
        process, stage = self.workers.pop(pid)
        del self._histories[pid]
        os.kill(pid, signal.SIGCONT)
        process.kill()
        process.wait()
        self.start(stage)

    async def pause(self, pid, seconds):
        """Stop a worker's clock for a while."""
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    async def offer(self, deadline_s=60.0):
        """Enqueue one job."""
        id_ = f"job-{next(self._ids)}"
        write = self._run.recorder.write
        write("enqueue", id_, INVOKE, deadline_s=deadline_s)
        ttl_ms = int(1000 * deadline_s)
        one = NewJob(id_, GATEWAY, REFS[0], 1, 1, ttl_ms, 0, b"input")
        try:
            await self.queue.enqueue(one, QueueLimits())
        except PenstockError as error:
            write("enqueue", id_, FAIL, code=error.code.name)
            return None
        self.accepted.add(id_)
        write("enqueue", id_, OK)
        return id_

    async def offer_regularly(self, per_s, deadline_s=60.0):
        """Enqueue at a steady pace until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self.offer(deadline_s))
                await asyncio.sleep(1 / per_s)

    async def rest(self, within_s=30.0):
        """Wait for all replies, and write down what is left in the store."""
        for pid in self.workers:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: self.accepted <= self.answered, within_s)
        await write_rest(self._run, self.probe)

    def _deliver(self, reply):
        self.answered.add(reply.job)
        body = reply.body.decode()
        self._run.recorder.write("reply", reply.job, OK, code=int(reply.code), body=body)

    def _kill_all(self):
        for process, _ in self.workers.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
            process.wait()


def _has_begun(history):
    return history.exists() and history.stat().st_size > 0


async def write_rest(run, probe, *, model=MODEL, version=1, ensemble=False):
    """What the store holds of a partition whose jobs have all ended; the model's counters."""
    start = probe.keys.jobs.removesuffix("job:")
    live = await until_empty(probe)
    # What was written by a script and has no life time yet cannot be: scripts are atomic.
    names = await probe.names(f"{start}*")
    keys = {name: await probe.ttl_ms(name) for name in sorted(names)}
    # -2: it has gone meanwhile.
    keys = {name: life_ms for name, life_ms in keys.items() if life_ms != -2}
    flat = [part.decode() for part in await probe.command("HGETALL", probe.keys.live_bytes)]
    live_bytes = {name: int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    counters = await statistics_of(probe.queue, model, version, ensemble=ensemble)
    run.recorder.write(
        "rest",
        f"{model}:{version}",
        OK,
        keys=keys,
        live=live,
        live_bytes=live_bytes,
        counters=counters,
    )
    return counters


async def until_empty(probe, within_s=20.0):
    """Wait until no job lives; those that still do."""
    places = (probe.keys.deadline, probe.keys.lease, probe.keys.delay, probe.keys.moving)

    async def none():
        return not any([await probe.members(key) for key in places])

    with contextlib.suppress(TimeoutError):
        await until(none, within_s)
    return sorted({id_ for key in places for id_ in await probe.members(key)})
