"""Metrics over HTTP: where they are served, and what a scraper may ask."""

import asyncio
import contextlib
import http.client
import socket

import pytest

from penstock.errors import PenstockError
from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.fronts.http.metrics_endpoint import DEFAULT_PORT, MetricsEndpoint
from penstock.settings import GatewaySettings


@pytest.fixture
def settings(tmp_path):
    def make(**given):
        return GatewaySettings(redis="redis://h", metrics_file=tmp_path / "metrics", **given)

    return make


@contextlib.asynccontextmanager
async def serving(settings):
    async def read(scope):
        return f"{scope.value} 1\n".encode()

    endpoint = MetricsEndpoint(settings, read, Authenticator("none"))
    await endpoint.start()
    yield endpoint.address
    endpoint.stop_accepting()


def ask(address, method="GET", path="/metrics"):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read()


async def test_metrics_are_at_any_free_port_that_the_file_names(settings):
    one = settings(metrics_port=0)
    async with serving(one) as address:
        answer = await asyncio.to_thread(ask, one.metrics_file.read_text())

    assert address == one.metrics_file.read_text()
    assert answer == (200, "text/plain; version=0.0.4; charset=utf-8", b"turn 1\n")


async def test_a_reader_may_say_what_is_to_be_told(settings):
    async with serving(settings(metrics_port=0)) as address:
        told = await asyncio.to_thread(ask, address, path="/metrics?scope=cluster")
        unknown = await asyncio.to_thread(ask, address, path="/metrics?scope=all")

    assert told[2] == b"cluster 1\n"
    assert (unknown[0], unknown[2]) == (400, b"scope is turn, cluster or gateway\n")


async def test_other_questions_are_refused(settings):
    one = settings(metrics_port=0)
    async with serving(one) as address:
        elsewhere, posted, head = await asyncio.gather(
            asyncio.to_thread(ask, address, path="/"),
            asyncio.to_thread(ask, address, "POST"),
            asyncio.to_thread(ask, address, "HEAD"),
        )

    assert elsewhere[0] == 404
    assert posted[0] == 405
    assert (head[0], head[2]) == (200, b"")


async def test_a_port_that_was_asked_for_must_be_free(settings):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(PenstockError, match=f":{port}: .* choose another port"):
            async with serving(settings(metrics_port=port)):
                pass


async def test_the_default_port_need_not_be_free(settings):
    one = settings()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # in use already: so much the better
            stack.enter_context(socket.create_server(("127.0.0.1", DEFAULT_PORT)))
        async with serving(one) as address:
            served = one.metrics_file.exists()

    assert not address
    assert not served
