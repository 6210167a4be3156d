"""Roles as whoever watches over them sees them: health of each, and metrics that add up."""

import asyncio
import http.client

import pytest
from support.clients.load import Load, eventually
from support.metrics import scrape
from support.processes.groups import free_ports
from support.processes.roles import all_ready, starting


@pytest.fixture
def role(tmp_path, redis_server):
    with starting(tmp_path, redis_server) as start:
        yield start


def health(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def watched(role, name, *options):
    """The role, and the port at which it tells of its health."""
    (port,) = free_ports(1)
    return role(name, *options, "--health-port", str(port)), port


async def test_each_role_tells_that_it_lives_and_serves(role, onnx_digits):
    models = ("--models", str(onnx_digits))
    started = [
        watched(role, "scheduler", *models),
        watched(role, "node", *models),
        watched(role, "worker", *models, "--model", "digits", "--version", "1"),
        watched(role, "gateway", "--port", "0"),
        watched(role, "gateway", "--port", "0", "--processes", "2", "--no-metrics"),
    ]
    for _, port in started:
        await eventually(lambda port=port: health(port, "/livez") == 200)
        await eventually(lambda port=port: health(port, "/readyz") == 200)

    node, port = started[1]
    assert await node.stop() == 0
    assert health(port, "/livez") is None


async def test_of_several_gateways_one_tells_the_clusters_metrics(role, onnx_digits, tmp_path):
    models = ("--models", str(onnx_digits))
    role("scheduler", *models)
    role("node", *models)
    files = [tmp_path / f"metrics-{number}" for number in range(3)]
    gateways = [
        role("gateway", "--port", "0", "--metrics-port", "0", "--metrics-file", str(file))
        for file in files
    ]
    urls = [await gateway.up() for gateway in gateways]
    await eventually(lambda: all_ready(urls[0]))
    async with Load(urls[0]) as load:
        await load.more(20)
    texts = [f"http://{file.read_text()}/metrics" for file in files]

    async def told(name, *gateways, scope="turn"):
        """The sum over what some gateways tell, and how many of them tell it."""
        urls = [f"{texts[number]}?scope={scope}" for number in gateways]
        found = [await asyncio.to_thread(scrape, url) for url in urls]
        of = [[v for (metric, _), v in one.items() if metric == name] for one in found]
        return sum(map(sum, of)), sum(map(bool, of))

    async def busy():
        return (await told("penstock_worker_busy_seconds_total", 0, 1, 2))[0] > 0

    await eventually(busy)
    answered, _ = await told("nv_inference_request_success", 2, scope="cluster")
    assert answered >= load.answers.right > 0
    assert await told("nv_inference_request_success", 0, 1, 2) == (answered, 1)
    assert await told("penstock_request_seconds_count", 0, 1, 2) == (answered, 1)
    assert await told("nv_inference_request_success", 0, 1, 2, scope="gateway") == (0, 0)
    assert await told("penstock_build_info", 0, 1, 2) == (3, 3)

    # The first that was asked has the turn; when it stops, the next one tells at once.
    assert await gateways[0].stop() == 0
    assert await told("nv_inference_request_success", 1, 2) == (answered, 1)
