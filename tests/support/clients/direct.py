"""Gateways and workers that hand jobs over, without gRPC and without a model."""

import asyncio
import contextlib
import secrets

from support.probe import FIRST, UNLIMITED, Probe, job
from support.waiting import until

from penstock.errors import Code
from penstock.gateway.delivery.direct.path import DirectPath
from penstock.gateway.delivery.lending import Lender
from penstock.gateway.delivery.router import JobRouter
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.payloads import LARGE_BYTES
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.registry.snapshot import Snapshot
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.requests.pending import PendingTable
from penstock.scheduler.store.link import Links
from penstock.transport.arena import memory_domain
from penstock.transport.lane import (
    Frames,
    Kind,
    LaneEnd,
    frame,
    jobs_in,
    lane_name,
    listen,
    packed_ends,
    packed_room,
)

LARGE = b"\x0a" * LARGE_BYTES


def beside(boot_id, name, **changes):
    """The record of a worker of the first stage that is ready, and on this machine."""
    facts = {
        "id": boot_id,
        "boot_id": boot_id,
        "model": FIRST.model,
        "version": FIRST.version,
        "stage": FIRST.stage,
        "state": pb.WORKER_STATE_READY,
        "lane": name,
        "memory_domain": memory_domain(),
    }
    return pb.Worker(**(facts | changes))


def knowing(*workers):
    """What the registry says of live workers."""
    records = {worker.id: worker for worker in workers}
    seen = frozenset(f"workers/{id_}" for id_ in records)
    return Snapshot(0, 0, "0-0", {}, (), {}, records, {}, {}, {}, seen)


class Neighbour(asyncio.Protocol):
    """A worker's end of a lane that does what its test says, and no more.

    Attributes:
        jobs: that were handed to it.
        gateway: who called.
    """

    def __init__(self):
        self.boot_id = f"test-{secrets.token_hex(8)}"
        self.name = lane_name(self.boot_id)
        self.jobs = []
        self.gateway = None
        self.asked = 0
        self.transport = None

    @contextlib.asynccontextmanager
    async def listening(self):
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: self, sock=listen(self.name))
        yield self
        server.close()

    def record(self, **changes):
        return beside(self.boot_id, self.name, **changes)

    def connection_made(self, transport):
        self.transport, self._frames = transport, Frames()

    def data_received(self, data):
        for kind, content in self._frames.feed(data):
            if kind == Kind.HELLO:
                self.gateway = content.decode()
            elif kind == Kind.NOTED:
                self.asked += 1
            else:
                self.jobs += jobs_in(content)

    def has_room(self, rows):
        self.transport.writelines(packed_room(rows))

    def end(self, one, code=Code.OK, message=""):
        body = one.payload + b"!" if code == Code.OK else b""
        self.transport.writelines(packed_ends([LaneEnd(one.number, code, message, body)]))

    def take_leave(self):
        self.transport.writelines(frame(Kind.BYE))
        self.transport.close()

    def note(self):
        self.transport.writelines(frame(Kind.NOTED))

    async def next_job(self):
        await until(lambda: self.jobs)
        return self.jobs.pop(0)


class Gateway:
    """A gateway's requests, without its gRPC server."""

    def __init__(self, probe, direct, router, pending, lender, clock):
        self.probe = probe
        self.direct = direct
        self.router = router
        self.pending = pending
        self.lender = lender
        self.clock = clock

    def knows(self, *workers):
        self.direct.update(knowing(*workers))
        self.lender.update(knowing(*workers))

    async def has_room(self):
        """Wait until each worker that it is connected with has room."""
        connections = self.direct.connections
        await until(lambda: connections and all(one.room for one in connections.values()))

    def ask(self, id_, **changes):
        return asyncio.create_task(self.pending.answer_to(job(id_, **changes), UNLIMITED))

    async def queued(self, *ids):
        """Wait until these jobs, and no others, wait in the queue."""

        async def waiting():
            return sorted(await self.probe.waiting()) == sorted(ids)

        await until(waiting)

    async def work_off(self):
        """A worker of the queue ends one job."""

        async def claimed():
            return next(iter((await self.probe.claim(rows=1)).leases), None)

        await self.probe.settle(await until(claimed))


class Clock:
    def __init__(self):
        self.ahead_s = 0.0

    def __call__(self):
        return asyncio.get_running_loop().time() + self.ahead_s


@contextlib.asynccontextmanager
async def serving(url, **options):
    clock, lender = Clock(), Lender(1 << 20)
    async with Links(url) as links:
        queue = await open_queue(links)
        direct = DirectPath(queue, "gateway-1", clock=clock, **options)
        router = JobRouter(queue, direct, lender)
        pending = PendingTable(queue, "gateway-1", router, clock)
        replies = ReplyReader(links, queue.partitions, "gateway-1", pending.deliver)
        await replies.heartbeat()
        runs = (replies.run(), pending.run(), direct.run())
        tasks = [asyncio.create_task(run) for run in runs]
        yield Gateway(Probe(links, queue), direct, router, pending, lender, clock)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await pending.close()
    lender.close()
