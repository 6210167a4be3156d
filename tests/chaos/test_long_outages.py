"""T14: the store is away for longer than leases and heartbeats last, twice in the life of a job.

Nothing is lost by it: long jobs, replies in parts, sequences and ensembles come to their right
ends, no worker has crashed, no gateway is gone, and no model stops being ready.
"""

import asyncio
import contextlib
import itertools
import os
import signal

import grpc
import numpy as np
import pytest
from chaos.engine.clients import Crowd
from chaos.engine.deployment import Deployment
from chaos.engine.workloads import CHAIN, Chains, Sequences, expected
from chaos.test_stream_faults import Readers
from support.models.decoupled import write_counter
from support.models.ensembles import step, write_ensemble, write_scale
from support.models.onnx_models import write_accumulator
from support.models.python_models import config, write_python
from support.probe import Probe
from support.processes.groups import ClusterGroup, SentinelGroup
from support.processes.proxy import Proxy

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.keys import partition_keys, partition_of
from penstock.scheduler.store.keyspace import CLUSTER_PARTITIONS
from penstock.scheduler.store.link import Links

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

LEASE_MS = 3000
BETWEEN_S = 3.0
PARTS_PER_S = 4
DEADLINE_S = 150.0
MODELS = ("sleeper", "counter", "accumulator", "double", "triple")
# Of a model: what there would be of these if anybody had been held to have died.
INNOCENT = ("crashes", "requeued", "dead", "cancelled", "expired", "fail_count")

_SLEEPER = """
import time

import numpy as np


class Model:
    def execute(self, inputs, parameters):
        time.sleep(float(inputs["seconds"][0]))
        return {"slept": inputs["seconds"]}
"""


class Sleepers(Crowd):
    """Calls that take so many seconds, which are their places."""

    name = "long"

    def __init__(self, run, url):
        super().__init__(run, clients=0)
        self.deadline_s = DEADLINE_S
        self._url = url

    async def __aenter__(self):
        self._channel = grpc.aio.insecure_channel(self._url)
        self._stub = pb_grpc.GRPCInferenceServiceStub(self._channel)
        return await super().__aenter__()

    async def _answer(self, place, id_):
        request = pb.ModelInferRequest(model_name="sleeper", id=id_)
        request.inputs.add(name="seconds", datatype="FP32", shape=[1])
        request.raw_input_contents.append(np.float32(place[1]).tobytes())
        reply = await self._stub.ModelInfer(request)
        return np.frombuffer(reply.raw_output_contents[0], "<f4").tolist()

    async def _close(self):
        await self._channel.close()


class Streams(Readers):
    """Replies in so many parts as their places say; a part takes a quarter of a second."""

    name = "parts"
    pause_s = 1 / PARTS_PER_S

    def __init__(self, run, url):
        super().__init__(run, url, DEADLINE_S, clients=0)

    def parts(self, place):
        return place[1]


def right(place):
    """The right answer to any of these clients."""
    kind, value, *_ = place
    if kind == "long":
        return [np.float32(value).item()]
    return [value] if kind == "parts" else expected(place)


def write_models(folder):
    root = folder / "models"
    number = "data_type: TYPE_FP32 dims: [ 1 ]"
    workers = "instance_group [{ count: 2 kind: KIND_CPU }]\n"
    settings = config({"seconds": number}, {"slept": number}, more=workers)
    write_python(root, "sleeper", _SLEEPER, settings)
    write_counter(root, folder, count=1)
    # Shorter than the outages: what is idle then must not be over.
    idle = "max_sequence_idle_microseconds: 6000000"
    write_accumulator(root, batching=f"oldest {{ max_candidate_sequences: 64 }} {idle}")
    for name, factor in (("double", 2), ("triple", 3)):
        write_scale(root, name, factor)
    steps = (("double", "IN", "two"), ("triple", "two", "six"), ("double", "six", "OUT"))
    write_ensemble(root, CHAIN, *(step(m, {"x": i}, {"y": o}) for m, i, o in steps))
    return root


@contextlib.asynccontextmanager
async def deployed(run, folder, url, store_url=None):
    """A deployment under *url*, with clients who ask all the time; all is judged at the end.

    Args:
        store_url: another way to the same store, which is never cut off.
    """
    run.expected = right
    async with Links(store_url or url) as links:
        await open_queue(links, CLUSTER_PARTITIONS)
    options = {"deadline_s": DEADLINE_S, "lease_ms": LEASE_MS}
    options["node_words"] = ("--allow-python-models",)
    async with Deployment(folder, url, write_models(folder), **options) as penstock:
        before = await facts(store_url or url)
        crowds = [
            Sequences(run, penstock.urls[0], DEADLINE_S, clients=2),
            Chains(run, penstock.urls[1], DEADLINE_S, clients=2),
        ]
        looking = asyncio.create_task(unready(penstock.urls))
        async with crowds[0], crowds[1]:
            yield penstock
            await asyncio.gather(*(crowd.more(10) for crowd in crowds))
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            run.gauge("models that were not ready", len(await looking), 0)
        for model in MODELS:
            counted = await penstock.rest(run, store_url, model=model, version=1)
            for name in INNOCENT:
                run.gauge(f"{name} of {model}", counted.get(name, 0), 0)
        after = await facts(store_url or url)
    run.gauge("gateways that were gone", len(before["gateways"] - after["gateways"]), 0)
    run.gauge("orphans", after["orphans"], 0)
    run.gauge("plans that were made anew", after["revision"] - before["revision"], 0)


async def facts(url):
    """What nobody may have changed."""
    async with Links(url) as links:
        queue = await open_queue(links)
        gateways, orphans = None, 0
        for model in MODELS:
            probe = Probe(links, queue)
            probe.keys = partition_keys(partition_of(model, queue.partitions))
            known = set(await probe.members(probe.keys.gateways))
            gateways = known if gateways is None else gateways & known
            for _, fields in await probe.command("XRANGE", probe.keys.events, "-", "+"):
                told = dict(zip(fields[::2], fields[1::2], strict=True))
                orphans += int(told.get(b"orphaned", 0))
        revision = (await Registry(links).snapshot()).revision
    return {"gateways": gateways, "orphans": orphans, "revision": revision}


async def unready(urls):
    """Ask whether the models are ready until cancelled; each time that one was not."""
    found = []
    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(u)) for u in urls]
        stubs = [pb_grpc.GRPCInferenceServiceStub(channel) for channel in channels]
        try:
            for stub, model in itertools.cycle(itertools.product(stubs, (*MODELS, CHAIN))):
                answer = await stub.ModelReady(pb.ModelReadyRequest(name=model))
                if not answer.ready:
                    found.append(model)
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            return found


async def outlived(run, penstock, name, outage, number):
    """Two outages in the life of long jobs and of replies in parts; all have their answers.

    Args:
        number: of how many came before in this run; every other one is longer.
    """
    seconds = (12, 30)[number % 2]
    life_s = 2 * (seconds + BETWEEN_S) + 2.0
    async with Sleepers(run, penstock.urls[0]) as long, Streams(run, penstock.urls[1]) as streams:
        # No call of a run has another's id.
        long.name, streams.name = f"long-{number}", f"parts-{number}"
        asking = [
            asyncio.create_task(long.ask(("long", life_s - 4 * place))) for place in range(2)
        ] + [asyncio.create_task(streams.ask(("parts", int(life_s * PARTS_PER_S))))]
        await asyncio.sleep(1.0)
        for _ in range(2):
            with run.fault(f"{name} {seconds} s"):
                async with outage:
                    await asyncio.sleep(seconds)
            await asyncio.sleep(BETWEEN_S)
        await asyncio.gather(*asking)


class Stopped:
    """Servers that do nothing, keep their connections, and go on."""

    def __init__(self, *stores):
        self._stores = stores

    async def __aenter__(self):
        for store in self._stores:
            os.kill(store.process.pid, signal.SIGSTOP)

    async def __aexit__(self, *_):
        for store in self._stores:
            os.kill(store.process.pid, signal.SIGCONT)


class Killed:
    """A server that ends at once, and starts again with its data."""

    def __init__(self, store):
        self._store = store

    async def __aenter__(self):
        self._store.kill()

    async def __aexit__(self, *_):
        await asyncio.to_thread(self._store.start)


class CutOff:
    """A network over which nothing comes; what was said arrives when it is mended."""

    def __init__(self, proxy):
        self._ways = (proxy.requests_pass, proxy.answers_pass)

    async def __aenter__(self):
        for way in self._ways:
            way.clear()

    async def __aexit__(self, *_):
        for way in self._ways:
            way.set()


async def test_t14_the_store_is_away_for_long(run, size, store, tmp_path):
    async with Proxy(store.socket) as proxy:
        outages = {"stopped": Stopped(store), "killed": Killed(store), "cut off": CutOff(proxy)}
        async with deployed(run, tmp_path, proxy.url, store.url) as penstock:
            for number in range(size(1, 30)):
                name = list(outages)[number % 3]
                await outlived(run, penstock, name, outages[name], number)


async def test_t14_one_server_of_a_cluster_is_away_for_long(run, chance, size, tmp_path):
    """Nobody takes its place, and the others do not miss it for 15 s."""
    with ClusterGroup(node_timeout_ms=15_000) as group:
        async with deployed(run, tmp_path, group.url) as penstock:
            for number in range(size(1, 10)):
                model = chance.choice(MODELS)
                tag = partition_keys(partition_of(model, CLUSTER_PARTITIONS)).tag
                outage = Stopped(group.stores[await asyncio.to_thread(group.owner, tag)])
                await outlived(run, penstock, f"server of {model}", outage, number)


@pytest.mark.skipif(os.environ.get("CHAOS") != "long", reason="at nightly sizes only")
async def test_t14_a_primary_and_its_replica_are_away_for_long(run, size, tmp_path):
    """The Sentinel has nobody to promote."""
    rounds = size(1, 10)
    with SentinelGroup() as group:
        async with deployed(run, tmp_path, group.url) as penstock:
            for number in range(rounds):
                outage = Stopped(*group.stores)
                await outlived(run, penstock, "both stopped", outage, number)
