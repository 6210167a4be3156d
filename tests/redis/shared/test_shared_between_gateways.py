"""Shared replies as gateways use them: on one server, on a Cluster, and while a slot moves."""

import asyncio
import contextlib
import itertools
from collections import Counter

import pytest
from support.clients.sharers import Sharers
from support.probe import FIRST, LONG_MS, UNLIMITED, Probe, job
from support.processes.groups import ClusterGroup
from support.waiting import until

from penstock.gateway.delivery.router import JobRouter
from penstock.gateway.models.catalog import Catalog
from penstock.gateway.replies.shared import KeyTerms, Sharing
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.shared_replies import cached, keyed
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.requests.pending import PendingTable
from penstock.scheduler.store.keys import partition_of
from penstock.scheduler.store.link import Links

MIB = 1 << 20
PATIENCE_S = 20
DIGEST = "digest"


class Front:
    """A gateway, as far as shared replies go: who waits, what it hears, and its part in them.

    Attributes:
        reads: whether it hears of replies; otherwise it has those that it asks for.
    """

    def __init__(self, links, queue, name):
        self.name = name
        self.reads = True
        self.pending = PendingTable(queue, name, JobRouter(queue))
        self._sharing = Sharing(queue, self.pending.next_id, Catalog(UNLIMITED), KeyTerms(60, MIB))
        self._reader = ReplyReader(links, queue.partitions, name, self._deliver)

    async def __aenter__(self):
        await self._reader.heartbeat()
        self._tasks = [
            asyncio.create_task(self._reader.run()),
            asyncio.create_task(self.pending.run()),
        ]
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _deliver(self, reply):
        if self.reads:
            self.pending.deliver(reply)

    def ask(self, shared, ref=FIRST, payload=b"input"):
        """A request with part in *shared*; the task that waits for its reply."""
        one = job(self.pending.next_id(), gateway=self.name, ref=ref, payload=payload)
        one, sink = self._sharing.opened(one, shared)
        return asyncio.create_task(self.pending.answer_to(one, UNLIMITED, sink=sink))


class Scene:
    """Two gateways, and one worker for all models.

    Attributes:
        ran: how often what was computed, by (model, payload).
    """

    def __init__(self, links, queue):
        self.links, self.queue = links, queue
        self.probe = Probe(links, queue)
        self.sharers = Sharers(self.probe)
        self.fronts = [Front(links, queue, f"gateway-{place}") for place in (1, 2)]
        self.ran = Counter()

    @contextlib.asynccontextmanager
    async def working(self, refs):
        """A worker answers as long as this lasts."""
        task = asyncio.create_task(self._work(refs))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _work(self, refs):
        for ref in itertools.cycle(refs):
            claim = await self.probe.claim(ref=ref)
            for lease in claim.leases:
                self.ran[ref.model, lease.payload] += 1
            if claim.leases:
                await self.probe.settle(*claim.leases, ref=ref)


@contextlib.asynccontextmanager
async def scene_on(url):
    async with Links(url, patience_s=PATIENCE_S) as links:
        scene = Scene(links, await open_queue(links))
        async with scene.fronts[0], scene.fronts[1]:
            yield scene


@pytest.fixture(scope="module")
def group():
    with ClusterGroup() as started:
        yield started


@pytest.fixture(params=["one server", "cluster"])
async def scene(request):
    """On an empty store."""
    if request.param == "cluster":
        group = request.getfixturevalue("group")
        group.empty()
        url = group.url
    else:
        url = request.getfixturevalue("redis_url")
    async with scene_on(url) as made:
        yield made


def kinds(ref, name):
    """The two shared replies that a request may be for."""
    return [
        keyed(ref.model, name, DIGEST, LONG_MS, MIB),
        cached(ref, f"{DIGEST} of {name}", LONG_MS, MIB),
    ]


async def test_each_runs_once_whichever_server_it_is_on(scene):
    refs = [StageRef(f"model-{place}", 1, 0) for place in range(12)]
    wanted = [(ref, one) for ref in refs for one in kinds(ref, "k")]
    async with scene.working(refs):
        asked = [
            (ref.model, front.ask(shared, ref, shared.kind.encode()))
            for ref, shared in wanted
            for front in (*scene.fronts, *scene.fronts)
        ]
        replies = [(model, await task) for model, task in asked]
        late = [
            (ref.model, await scene.fronts[1].ask(shared, ref, b"late")) for ref, shared in wanted
        ]

    assert set(replies) == set(late)
    assert len(set(replies)) == len(wanted)
    assert len(scene.ran) == scene.ran.total() == len(wanted)


async def test_a_follower_leads_when_its_leader_brought_no_job(scene):
    """Its gateway died between the two."""
    for shared in kinds(FIRST, "k"):
        led = await scene.sharers.join(shared, f"dead-{shared.kind}", "gateway-9")
        answer = scene.fronts[0].ask(shared)

        lease = await until(lambda: _claimed(scene))

        assert lease.id == led.job
        await scene.probe.settle(lease)
        assert await answer == lease.payload + b"!"


async def test_who_asks_again_for_a_reply_that_it_has_not_read_counts_once(scene):
    """A gateway that is slow reads its stream later than it asks."""
    leader, follower = scene.fronts
    shared = cached(FIRST, DIGEST, LONG_MS, MIB)
    follower.reads = False
    answers = [leader.ask(shared)]
    lease = await until(lambda: _claimed(scene))
    answers.append(follower.ask(shared))
    await until(lambda: _both_wait(scene, shared))

    await scene.probe.settle(lease)

    first, second = await asyncio.gather(*answers)
    assert first == second == lease.payload + b"!"
    assert await scene.sharers.counted() == {"cache_miss_count": 1, "cache_hit_count": 1}


async def test_a_job_outlives_the_gateway_that_enqueued_it(scene):
    """Who asks through another one has its reply."""
    shared, _ = kinds(FIRST, "k")
    first, second = scene.fronts
    lost = first.ask(shared)
    (before,) = await until(scene.probe.waiting)
    await first.__aexit__()
    await scene.probe.command("ZADD", scene.probe.keys.gateways, 1, first.name)
    await scene.queue.reap(partition_of(FIRST.model, scene.queue.partitions))
    answer = second.ask(shared)

    lease = await until(lambda: _claimed(scene))
    await scene.probe.settle(lease)

    assert lease.id == before
    assert await answer == lease.payload + b"!"
    lost.cancel()


async def _both_wait(scene, shared):
    return len(await scene.sharers.waiters(shared)) == 2


async def _claimed(scene):
    return next(iter((await scene.probe.claim()).leases), None)


async def test_a_slot_that_moves_doubles_nothing_and_loses_nobody(group):
    """Keys of shared replies, of their jobs, and of replies go one by one, while all are in use."""
    group.empty()
    async with scene_on(group.url) as scene, scene.working([FIRST]):
        tag = scene.probe.keys.tag
        asking = {}

        async def ask_on():
            for number in itertools.count():
                for shared in kinds(FIRST, f"{number}"):
                    payload = f"{shared.kind} {number}".encode()
                    tasks = [front.ask(shared, payload=payload) for front in scene.fronts]
                    asking[payload] = tasks
                await asyncio.sleep(0.002)

        asker = asyncio.create_task(ask_on())
        for _ in range(2):
            done = scene.ran.total()
            target = (await asyncio.to_thread(group.owner, tag) + 1) % 3
            await asyncio.to_thread(group.move_slot, tag, target)
            await until(lambda n=done: scene.ran.total() > n + 20, 30)
        asker.cancel()
        replies = {payload: await asyncio.gather(*tasks) for payload, tasks in asking.items()}

    assert len(replies) > 40
    assert all(len(set(pair)) == 1 for pair in replies.values())
    assert len(scene.ran) == scene.ran.total() == len(replies)
