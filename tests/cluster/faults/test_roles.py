"""The roles, each started by itself against one Redis, the oldest, as on a cluster of machines."""

import asyncio
import contextlib

import pytest
from support.clients.load import Load, eventually
from support.processes.roles import all_ready, nodes_that_work, starting, status_of


@pytest.fixture
def role(tmp_path, redis_server):
    with starting(tmp_path, redis_server) as start:
        yield start


async def test_a_node_that_drains_hands_its_work_to_another(role, onnx_digits):
    models = ("--models", str(onnx_digits))
    role("scheduler", *models)
    first = role("node", *models, "--node", "first")
    gateway = role("gateway", "--port", "0")
    url = await gateway.up()
    await eventually(lambda: all_ready(url))
    second = role("node", *models, "--node", "second")
    await second.up()

    async with Load(url) as load:
        status = await first.stop()
        await eventually(lambda: all_ready(url))
        await load.more(300)

    assert status == 0, first.log.read_text()
    assert await nodes_that_work(url) == {"second"}
    assert load.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == 0


async def test_a_gateway_that_drains_answers_what_it_has(role, onnx_digits):
    models = ("--models", str(onnx_digits))
    role("scheduler", *models)
    role("node", *models)
    gateways = [role("gateway", "--port", "0") for _ in range(2)]
    urls = [await gateway.up() for gateway in gateways]
    await eventually(lambda: all_ready(urls[1]))

    async with Load(urls[0], pause_s=0.5) as load, Load(urls[1]) as other:
        await load.more(50)
        status = await gateways[0].stop()
        await other.more(100)

    assert status == 0, gateways[0].log.read_text()
    # What had been taken was answered; what came later was turned away, with a reason.
    kinds = {error.partition(":")[0] for error in load.answers.errors}
    assert kinds <= {"UNAVAILABLE"}, load.answers.errors
    assert load.answers.wrong == 0
    assert other.answers.failed == 0, other.answers.errors


async def test_several_schedulers_agree(role, onnx_digits):
    models = ("--models", str(onnx_digits))
    schedulers = [role("scheduler", *models) for _ in range(3)]
    role("node", *models)
    url = await role("gateway", "--port", "0").up()
    await eventually(lambda: all_ready(url))
    schedulers[0].process.kill()

    async with Load(url) as load:
        await load.more(200)
    status = await status_of(url)

    assert sum(len(stage.workers) for v in status.versions for stage in v.stages) == 3
    assert load.answers.failed == 0, load.answers.errors


async def test_a_worker_can_be_run_without_a_node(role, onnx_digits):
    models = ("--models", str(onnx_digits))
    role("scheduler", *models)
    for stage in ("0", "1"):
        role("worker", *models, "--model", "digits", "--version", "2", "--stage", stage)
    url = await role("gateway", "--port", "0").up()

    async def served():
        versions = (await status_of(url)).versions
        return any(v.version == 2 and v.state == "READY" for v in versions)

    await eventually(served)
    async with Load(url, version="2") as load:
        await load.more(100)

    assert load.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == 0


async def test_a_second_node_of_the_same_name_is_refused(role, onnx_digits):
    models = ("--models", str(onnx_digits))
    first = role("node", *models, "--node", "twin")
    await first.up()
    second = role("node", *models, "--node", "twin")

    status = await asyncio.to_thread(second.process.wait, 30)

    assert status == 1
    assert "another node 'twin' is running" in second.log.read_text()
    assert "--node" in second.log.read_text()


async def test_gateway_processes_share_one_port(role, onnx_digits):
    models = ("--models", str(onnx_digits))
    role("scheduler", *models)
    role("node", *models)
    url = await role("gateway", "--port", "0", "--processes", "2").up()
    await eventually(lambda: all_ready(url))

    async with contextlib.AsyncExitStack() as stack:
        loads = [await stack.enter_async_context(Load(url, clients=4)) for _ in range(4)]
        for load in loads:
            await load.more(50)
        gateways = (await status_of(url)).gateways

    assert {gateway.address for gateway in gateways} == {url}
    assert len(gateways) == 2
    assert sum(load.answers.failed + load.answers.wrong for load in loads) == 0
