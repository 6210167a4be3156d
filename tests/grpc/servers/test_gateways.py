"""Several gateway processes that share their ports, for gRPC and for HTTP."""

import http.client
import json
import re

import grpc
import psutil
import pytest
from support.processes.roles import starting
from support.processes.stores import valkey

SERVICE = "inference.GRPCInferenceService"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with valkey() as store, starting(tmp_path_factory.mktemp("shared"), store.url) as start:
        yield start(
            *("gateway", "--port", "0", "--grpc-front", "asgi", "--processes", "2"),
            *("--http", "--http-port", "0", "--metrics-port", "0"),
        )


@pytest.fixture
async def addresses(gateway):
    """Of gRPC and HTTP, once all processes serve."""
    grpc_address = await gateway.up()
    found = re.findall(r"serving HTTP +.*address=(\S+)", gateway.log.read_text())
    return grpc_address, re.sub(r"\x1b\[[0-9;]*m", "", found[0])


def get(address, path):
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


async def test_all_answer_at_the_same_ports(gateway, addresses):
    grpc_address, http_address = addresses
    ports = {int(address.rpartition(":")[2]) for address in addresses}
    listening = [
        {one.laddr.port for one in child.net_connections("tcp") if one.status == "LISTEN"}
        for child in psutil.Process(gateway.pid).children()
    ]

    assert [ports <= found for found in listening] == [True, True]
    assert get(http_address, "/livez") == (200, b"ok\n")
    assert get(http_address, "/readyz") == (200, b"ok\n")
    assert json.loads(get(http_address, "/v2")[1])["name"] == "triton"
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        assert await channel.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=30) == b"\x08\x01"


async def test_they_end_well(gateway, addresses):
    assert addresses
    assert await gateway.stop() == 0
