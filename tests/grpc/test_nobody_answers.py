"""Nobody at an address is explained apart from a gateway that cannot answer now."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from penstock.cli.ask.channel import CallFailed, Gateway, NoGateway, explained
from penstock.client import Client, RetryPolicy, Unavailable, Unreachable
from penstock.errors import JobFailed
from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.loadgen.generator import Unreachable as NoServer
from penstock.loadgen.requests import describe
from penstock.protos import cluster_pb2, cluster_pb2_grpc

AWAY = "Redis cannot be reached: Error 111 connecting to 10.0.0.1:6379. Connection refused."
ONCE = RetryPolicy(attempts=1)


class _Refusing(grpc.GenericRpcHandler):
    def service(self, handler_call_details):
        if handler_call_details.method.startswith("/grpc.health.v1.Health/"):
            return None  # A gateway's own health is none of Redis's.
        return grpc.unary_unary_rpc_method_handler(
            lambda _, context: context.abort(grpc.StatusCode.UNAVAILABLE, AWAY)
        )


@pytest.fixture(scope="module")
def storeless():
    """The address of a gateway that answers each call like one whose Redis is away."""
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Refusing()])
    watched = health.HealthServicer()
    watched.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(watched, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def status_of(url):
    with explained(Gateway(url)), grpc.insecure_channel(url) as channel:
        cluster_pb2_grpc.ClusterStub(channel).Status(cluster_pb2.StatusRequest(), timeout=5)


async def test_what_a_gateway_says_is_told_as_it_said_it(storeless):
    with pytest.raises(CallFailed, match="Redis cannot be reached"):
        status_of(storeless)
    with pytest.raises(JobFailed, match="Redis cannot be reached"):
        await describe(storeless, "digits")
    with Client(storeless, retry=ONCE) as client, pytest.raises(Unavailable, match="Redis") as said:
        client.live()

    assert not isinstance(said.value, Unreachable)


@pytest.mark.parametrize("host", ["127.0.0.1", "nobody.invalid"])
async def test_nobody_at_the_address_is_told_with_what_to_do(host, unused_port):
    url = f"{host}:{unused_port}"

    with pytest.raises(
        NoGateway, match=f"no gateway answers at {url}: start one with 'penstock up'"
    ):
        status_of(url)
    with pytest.raises(NoServer):
        await describe(url, "digits")
    with Client(url, retry=ONCE) as client, pytest.raises(Unreachable, match="no gateway answers"):
        client.live()
