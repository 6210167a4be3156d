"""Several gateway processes that share their ports, for gRPC and for HTTP."""

import http.client
import json
import re

import grpc
import psutil
import pytest
from support.processes.roles import starting

SERVICE = "inference.GRPCInferenceService"


@pytest.fixture
def gateway(tmp_path, redis_url):
    with starting(tmp_path, redis_url) as start:
        yield start(
            *("gateway", "--port", "0", "--grpc-front", "asgi", "--processes", "2"),
            *("--http", "--http-port", "0", "--metrics-port", "0"),
        )


def get(address, path):
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


async def test_all_answer_at_the_same_ports_and_end_well(gateway):
    grpc_address = await gateway.up()
    found = re.search(r"serving HTTP +.*address=(\S+)", gateway.log.read_text())
    http_address = re.sub(r"\x1b\[[0-9;]*m", "", found[1])
    ports = {int(address.rpartition(":")[2]) for address in (grpc_address, http_address)}
    listening = [
        {one.laddr.port for one in child.net_connections("tcp") if one.status == "LISTEN"}
        for child in psutil.Process(gateway.pid).children()
        if child.cmdline()[4] == "gateway"
    ]

    assert [ports <= found for found in listening] == [True, True]
    assert get(http_address, "/livez") == (200, b"ok\n")
    # No scheduler has said yet which models there are.
    assert get(http_address, "/readyz") == (503, b"not ready\n")
    assert json.loads(get(http_address, "/v2")[1])["name"] == "triton"
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        assert await channel.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=30) == b"\x08\x01"
    assert await gateway.stop() == 0
