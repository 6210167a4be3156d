"""A gateway's front in the test's own process: gRPC, admission, and a real queue behind it."""

import asyncio
import contextlib
import os

import grpc
from support.clients.infer_requests import spec
from support.probe import FIRST, Probe
from support.records import known, node, placement, signature, snapshot, version, worker

from penstock.gateway.app import _Gateway
from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.store.link import Links
from penstock.settings import GatewaySettings

VALUES = 1 << 18
"""Of a request: a MiB of payload."""


class Front:
    """Serves `digits`, which one row of `VALUES` numbers goes to; its jobs are the test's to end.

    Attributes:
        gateway: its parts.
        probe: the queue, as a worker has it.
        infer, stream: the methods, which take and give bytes.
        address: of its last front, which is HTTP's if that is wanted.
        last: that front.
        grpc_address: of the one that speaks gRPC.
    """

    def __init__(self, gateway, probe, channel, last):
        self.address = last.address
        self.grpc_address = gateway.record.address
        self.last = last
        self.gateway = gateway
        self.probe = probe
        self.channel = channel
        self.infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        self.stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")


def message(*, model="digits", values=VALUES, shape=None, id_="", **parameters):
    """A request with so many zeros."""
    request = pb.ModelInferRequest(model_name=model, id=id_)
    request.inputs.add(name="x", datatype="FP32", shape=shape or (1, values))
    request.raw_input_contents.append(bytes(4 * values))
    for name, value in parameters.items():
        request.parameters[name].string_param = value
    return request.SerializeToString()


def _settings(url, **settings):
    given = {"grpc_front": os.environ.get("PENSTOCK_GRPC_FRONT", "aio"), "http": False, **settings}
    return GatewaySettings(redis=url, host="127.0.0.1", port=0, metrics=False, **given)


@contextlib.asynccontextmanager
async def serving(url, *, text="max_batch_size: 8", values=VALUES, **settings):
    """The front of a gateway on this store, whose model takes *values* in a row."""
    signed = signature([spec("x", "FP32", -1, values)], [spec("y", "FP32", -1, 2)])
    record = version(model=FIRST.model, text=text)
    placed = placement(model=FIRST.model, fingerprint=record.stages[0].fingerprint)
    async with Links(url) as links:
        gateway = await _Gateway.build(_settings(url, **settings), links)
        gateway.catalog.update(
            snapshot(
                [record],
                workers=[worker(placed)],
                signatures=known(record, signed),
                nodes=[node("n")],
            )
        )
        gateway.authenticator.update({})
        told = asyncio.Event()
        told.set()
        fronts = gateway.fronts(told)
        for front in fronts:
            await front.start()
        delivery = gateway.delivery
        await delivery.replies.heartbeat()
        runs = (delivery.replies.run(), delivery.pending.run())
        tasks = [asyncio.create_task(run) for run in runs]
        async with grpc.aio.insecure_channel(
            fronts[0].address, options=[("grpc.max_receive_message_length", -1)]
        ) as channel:
            yield Front(gateway, Probe(links, delivery.queue), channel, fronts[-1])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for front in fronts:
            await front.stop()
        await delivery.pending.close()
