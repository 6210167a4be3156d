"""A cluster in surroundings that others made: a proxy, IPv6, Kubernetes's Services, ASCII."""

import asyncio
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from support.models.ensembles import write_scale
from support.processes.cluster import Cluster

from penstock.client import AsyncClient, Client

NOBODY = "http://127.0.0.1:9"
PROXIED = {
    **dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"), NOBODY),
    **dict.fromkeys(("no_proxy", "NO_PROXY", "no_grpc_proxy"), ""),
}
"""All goes through a proxy that nobody runs."""

LINKED = {
    "PENSTOCK_PORT": "tcp://10.0.0.11:8001",
    "PENSTOCK_PORT_8001_TCP": "tcp://10.0.0.11:8001",
    "PENSTOCK_METRICS_PORT": "tcp://10.0.0.11:8002",
    "PENSTOCK_SERVICE_HOST": "10.0.0.11",
    "PENSTOCK_SERVICE_PORT": "8001",
}
"""What Kubernetes sets where there is a Service named penstock."""

ROW = np.ones((1, 4), dtype=np.float32)


@pytest.fixture(scope="module", params=[("::1",), ("::", "--processes", "2")], ids=" ".join)
def surrounded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("surrounded")
    write_scale(folder / "models", "triple", 3)
    write_scale(folder / "models", "é-model", 2)
    environment = {**PROXIED, **LINKED, "PENSTOCK_PROT": "1", "PYTHONIOENCODING": "ascii"}
    one = Cluster(
        folder / "cluster",
        folder / "models",
        "--insecure",
        "--host",
        *request.param,
        environment=environment,
    )
    with one.running():
        yield one


@pytest.fixture(autouse=True)
def _behind_a_proxy(monkeypatch):
    for name, value in PROXIED.items():
        monkeypatch.setenv(name, value)


def nearby(cluster):
    """Where clients on this machine find it."""
    return cluster.url.replace("[::]", "[::1]")


def test_it_says_where_it_serves_as_clients_write_it(surrounded):
    assert surrounded.url.startswith(("[::1]:", "[::]:"))
    assert f"--url {nearby(surrounded)}" in surrounded.output()
    assert surrounded.metrics_url().startswith("http://[::1]:")


def test_it_says_once_which_variable_means_nothing(surrounded):
    line = "the variable PENSTOCK_PROT is no setting of Penstock: did you mean PENSTOCK_PORT?"

    assert surrounded.output().count("is no setting of Penstock") == 1
    assert line in surrounded.output()


async def test_a_model_whose_name_its_terminal_lacks_is_served(surrounded):
    async with AsyncClient(nearby(surrounded)) as client:
        found = await client.infer("é-model", {"x": ROW})

    np.testing.assert_array_equal(found["y"], ROW * 2)
    assert "\\xe9-model version 1: READY" in surrounded.output()


async def test_clients_on_its_machine_go_through_no_proxy(surrounded):
    with Client(nearby(surrounded)) as client:
        blocking = await asyncio.to_thread(client.infer, "triple", {"x": ROW})
    async with AsyncClient([nearby(surrounded)] * 2) as client:
        awaited = await client.infer("triple", {"x": ROW})

    np.testing.assert_array_equal(blocking["y"], ROW * 3)
    np.testing.assert_array_equal(awaited["y"], ROW * 3)


@pytest.mark.parametrize("surrounded", [("::1",)], ids=" ".join, indirect=True)
@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("models", "ls"),
        ("jobs", "dead", "ls"),
        ("infer", "triple", "--input", "x=[[1, 2, 3, 4]]"),
        ("bench", "triple", "--duration-s", "0.2", "--warmup-s", "0", "--concurrency", "2"),
    ],
    ids=lambda words: words[0],
)
def test_commands_find_it(surrounded, words):
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *words, "--url", nearby(surrounded)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_metrics_are_read_over_ipv6(surrounded):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    with direct.open(surrounded.metrics_url(), timeout=20) as answer:
        assert b"nv_inference_request_success" in answer.read()
