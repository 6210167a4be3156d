"""The load generator and its command against a real server in the test's process.

The generators run in processes of their own, as always.
"""

import asyncio
import json
import os
import signal
import time

import grpc
import pytest
from support.processes.commands import invoke

from penstock.errors import PenstockError
from penstock.loadgen.fleet import LoadFailed, run_load
from penstock.loadgen.generator import Unreachable
from penstock.loadgen.outcome import Outcome
from penstock.loadgen.plan import Plan
from penstock.loadgen.plot import draw, quantiles
from penstock.loadgen.requests import describe
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc


class Doubler(pb_grpc.GRPCInferenceServiceServicer):
    """Knows the model "double"; stalls, or refuses, when told to."""

    def __init__(self):
        self.requests = 0
        self.asked = asyncio.Event()
        self.stall_s = 0.0
        self.refuse_every = 0

    async def ModelMetadata(self, request, context):  # noqa: N802
        if request.name != "double":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model: '{request.name}'")
        tensor = pb.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=[-1, 4])
        return pb.ModelMetadataResponse(name="double", versions=["1"], inputs=[tensor])

    async def ModelConfig(self, request, context):  # noqa: ARG002, N802
        reply = pb.ModelConfigResponse()
        reply.config.max_batch_size = 8
        return reply

    async def ModelInfer(self, request, context):  # noqa: N802
        self.requests += 1
        self.asked.set()
        if self.refuse_every and self.requests % self.refuse_every == 0:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")
        if self.stall_s:
            stall_s, self.stall_s = self.stall_s, 0.0
            time.sleep(stall_s)  # noqa: ASYNC251 - the whole server stands still, as in a long GC
        return pb.ModelInferResponse(model_name=request.model_name)


@pytest.fixture
async def server():
    server = grpc.aio.server()
    doubler = Doubler()
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(doubler, server)
    doubler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield doubler
    await server.stop(None)


def plan(server, **changes):
    request = pb.ModelInferRequest(model_name="double").SerializeToString()
    short = {"warmup_s": 0.05, "duration_s": 0.4}
    return Plan(**({"target": server.address, "requests": (request,)} | short | changes))


async def penstock_bench(*arguments):
    """Exit status, standard output, standard error."""
    done = await asyncio.to_thread(invoke, "bench", *arguments)
    return done.exit_code, done.stdout, done.stderr


async def test_a_closed_loop_counts_what_the_server_answered(server):
    outcome = await run_load(plan(server, concurrency=4, processes=2, connections=2))

    assert outcome.failed == 0
    assert 0 < outcome.latency.count <= server.requests
    assert outcome.throughput_per_s == outcome.answered / 0.4
    assert 0 < outcome.latency_ms(0.5) <= outcome.latency_ms(1.0)


async def test_an_open_loop_sends_at_its_rate(server):
    outcome = await run_load(plan(server, rate_per_s=200.0, duration_s=1.0))

    assert outcome.latency.count == pytest.approx(200, abs=60)
    assert outcome.lateness.count == outcome.latency.count


async def test_a_stall_is_felt_by_everyone_who_would_have_called_meanwhile(server):
    """A generator that waits for the stalled answer would count one slow request, not a third."""
    server.stall_s = 0.5

    outcome = await run_load(plan(server, rate_per_s=100.0, warmup_s=0.0, duration_s=1.0))

    assert outcome.latency_ms(0.7) > 50
    assert outcome.latency_ms(1.0) > 400


async def test_errors_are_counted_by_their_code(server):
    server.refuse_every = 3

    outcome = await run_load(plan(server, concurrency=2))

    assert outcome.errors["RESOURCE_EXHAUSTED"] > 0
    assert outcome.messages == {"RESOURCE_EXHAUSTED": "too much"}
    assert outcome.latency.count > outcome.failed


async def test_a_late_answer_is_an_error_when_a_deadline_is_given(server):
    server.stall_s = 0.3

    outcome = await run_load(plan(server, concurrency=1, warmup_s=0.0, timeout_s=0.1))

    assert outcome.errors["DEADLINE_EXCEEDED"] >= 1


async def test_progress_is_told_while_the_load_runs(server):
    told = []

    outcome = await run_load(plan(server, concurrency=2, duration_s=0.8), told.append)

    assert told == sorted(told)
    assert 0 < told[-1] <= outcome.answered


async def test_a_load_without_a_server_fails_with_a_reason(unused_port):
    nobody = Plan(target=f"127.0.0.1:{unused_port}", requests=(b"",), concurrency=1, connect_s=0.3)

    with pytest.raises(Unreachable, match="no server answers"):
        await describe(nobody.target, "double")
    with pytest.raises(LoadFailed, match="no server answers"):
        await run_load(nobody)


async def test_a_generator_that_is_killed_fails_the_load(server):
    before = children()
    load = asyncio.create_task(run_load(plan(server, concurrency=1, duration_s=60)))
    await server.asked.wait()

    (generator,) = children() - before
    os.kill(generator, signal.SIGKILL)

    with pytest.raises(LoadFailed, match="ended early"):
        await load


async def test_a_cancelled_load_leaves_no_process(server):
    before = children()
    load = asyncio.create_task(run_load(plan(server, concurrency=1, duration_s=60)))
    await server.asked.wait()

    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load

    assert children() == before


async def test_the_command_prints_json(server):
    status, out, err = await penstock_bench(
        *("double", "--url", server.address, "--json", "--batch", "2"),
        *("--duration-s", "0.4", "--warmup-s", "0.1", "-c", "4"),
    )

    assert (status, err) == (0, "")
    facts = json.loads(out)
    assert facts["concurrency"] == 4
    assert facts["requests"] > 0
    assert facts["items_per_s"] == pytest.approx(2 * facts["throughput_per_s"], rel=1e-3)
    assert set(facts["latency_ms"]) >= {"p50", "p90", "p95", "p99", "p99.9", "max"}
    assert facts["errors"] == {}


async def test_the_command_draws_and_prints_a_table(server, tmp_path):
    picture = tmp_path / "latency.svg"

    status, out, _ = await penstock_bench(
        *("double", "--url", server.address, "--rate", "100", "--plot", str(picture)),
        *("--duration-s", "0.5", "--warmup-s", "0.1"),
    )

    assert status == 0
    assert "requests/s" in out
    assert "p99.9" in out
    assert picture.read_text().lstrip().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nothing"], "unknown model: 'nothing'"),
        (["double", "--batch", "9"], "at most 8 items"),
        (["double", "--input", "y=@y.npy"], "y.npy"),
        (["double", "--shape", "x=four"], "write NAME=64x32"),
        (["double", "-c", "1", "--rate", "5"], "give one"),
        (["double", "--plot", "latency.bmp"], ".png, .svg"),
    ],
)
async def test_a_mistake_is_one_clear_line(server, arguments, text):
    status, out, err = await penstock_bench(*arguments, "--url", server.address)

    assert (status, out) == (1, "")
    assert text in err
    assert err.count("\n") == 1


async def test_an_unreachable_gateway_is_one_clear_line(unused_port):
    status, _, err = await penstock_bench("double", "--url", f"127.0.0.1:{unused_port}")

    assert status == 1
    assert err.startswith(f"penstock: no gateway answers at 127.0.0.1:{unused_port}: start one")


def test_a_picture_needs_something_to_show(tmp_path):
    with pytest.raises(PenstockError, match="no answer"):
        draw(Outcome(1.0), tmp_path / "latency.png", "nothing")


def test_the_quantiles_of_a_picture_end_where_the_values_do():
    assert quantiles(1000)[0] == 0
    assert quantiles(1000)[-1] == pytest.approx(0.999)


def children():
    import psutil

    return {child.pid for child in psutil.Process().children()}
