"""A worker at work, on a shard that is a class, and a queue to fill for it."""

import asyncio
import contextlib
import itertools
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from support.clients.infer_requests import spec
from support.probe import FIRST, LONG_MS, Probe
from support.records import signature
from support.waiting import until

from penstock.protos import cluster_pb2
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.direct import DirectCounters
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.store.link import Links
from penstock.transport.lane import (
    Frames,
    Kind,
    LaneJob,
    call,
    ends_in,
    frame,
    packed_jobs,
    room_in,
)
from penstock.workers.liveness.heartbeat import Heartbeat
from penstock.workers.run.execution import Execution
from penstock.workers.serve.batching import BatchRules
from penstock.workers.serve.direct_server import DirectServer
from penstock.workers.serve.spec import WorkerSpec
from penstock.workers.serve.worker import DeviceBroken, Worker

BLOCKS = -7.0
SIGNATURE = signature([spec("x", "FP32", -1, 1)], [spec("y", "FP32", -1, 1)])
SPEC = WorkerSpec(
    ref=FIRST,
    last=True,
    boot_id="",
    hop_name="worker",
    consumes=("x",),
    keeps=("y",),
    rules=BatchRules(most_rows=8, together=True),
    batched=True,
    optional=frozenset(),
    by_parameters=False,
    lease_ms=LONG_MS,
)


class Doubling:
    """A shard; it blocks on `BLOCKS` until its test says so."""

    any_thread = True
    fixed_work = True

    def __init__(self):
        self.signature = SIGNATURE
        self.blocked, self.go_on = threading.Event(), threading.Event()

    def run(self, inputs, outputs):
        (name,) = outputs
        if (inputs["x"] == BLOCKS).any():
            self.blocked.set()
            assert self.go_on.wait(20)
        return {name: 2 * inputs["x"]}


def payload(*values, id_=""):
    request = pb.ModelInferRequest(model_name=FIRST.model, id=id_)
    request.inputs.add(name="x", datatype="FP32", shape=[len(values), 1])
    request.raw_input_contents.append(np.float32(values).tobytes())
    return request.SerializeToString()


def values(body):
    (raw,) = pb.ModelInferResponse.FromString(body).raw_output_contents
    return np.frombuffer(raw, "<f4").tolist()


class Caller(asyncio.Protocol):
    """A gateway's end of a lane that sends what its test says."""

    def __init__(self):
        self.room, self.ends, self.noted, self.lost, self.left = 0, {}, 0, False, False
        self._frames = Frames()

    def connection_made(self, transport):
        self.transport = transport
        transport.writelines(frame(Kind.HELLO, b"gateway-1"))

    def connection_lost(self, _):
        self.lost = True

    def data_received(self, data):
        for kind, content in self._frames.feed(data):
            if kind == Kind.ROOM:
                self.room = room_in(content)
            elif kind == Kind.NOTED:
                self.noted += 1
            elif kind == Kind.BYE:
                self.left = True
            else:
                self.ends |= {end.number: end for end in ends_in(content)}

    def hand(self, *jobs, ttl_ms=LONG_MS):
        """Hand over jobs given as (number, payload)."""
        self.transport.writelines(packed_jobs(LaneJob(n, 1, ttl_ms, 0, body) for n, body in jobs))

    async def end_of(self, number):
        return await until(lambda: self.ends.get(number))

    async def told_of_room(self):
        """Hand over small jobs until the worker has found out how quick it is."""
        for number in itertools.count(1000):
            self.hand((number, payload(1)))
            await self.end_of(number)
            if self.room:
                return


class Working:
    """A worker, and a queue to fill for it."""

    def __init__(self, probe, worker, direct_server, runtime, stop, running):
        self.probe = probe
        self.worker = worker
        self.direct_server = direct_server
        self.runtime = runtime
        self.stop = stop
        self.running = running

    async def connected(self, caller):
        """*caller*, at the gateway's end of a lane to the worker."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: caller, sock=call(self.direct_server.name))
        return caller

    async def asleep(self):
        await until(self.worker.is_asleep)

    async def statistics(self):
        return await statistics_of(self.probe.queue, FIRST.model, FIRST.version)


@contextlib.asynccontextmanager
async def working(url, spec=SPEC, runtime=None, device_type=ThreadPoolExecutor):
    """A worker that works until the end of the block, or until its device breaks."""
    runtime, boot_id = runtime or Doubling(), secrets.token_hex(8)
    spec, stop = replace(spec, boot_id=boot_id), asyncio.Event()
    shard = runtime.signature
    record = cluster_pb2.Worker(id=boot_id, boot_id=boot_id, model=FIRST.model, version=1)
    names = [[one.name for one in some] for some in (shard.inputs, shard.outputs)]
    execution = Execution(runtime, *names, batched=True)
    async with Links(url) as links:
        queue = await open_queue(links)
        link = links.blocking(queue.keys_of(FIRST.model).tag)
        with (
            Heartbeat(url, record, pipe=None, run_limit_s=600) as heartbeat,
            device_type(1) as device,
        ):
            renewal = heartbeat.renew(FIRST.model, spec.lease_ms)
            worker = Worker(spec, queue, link, execution, renewal, device)
            direct_server = DirectServer(worker, DirectCounters(queue, FIRST, boot_id))
            async with direct_server.open(boot_id):
                running = asyncio.create_task(worker.run(stop))
                probe = Probe(links, queue)
                yield Working(probe, worker, direct_server, runtime, stop, running)
                runtime.go_on.set()
                stop.set()
                with contextlib.suppress(DeviceBroken):
                    await running
