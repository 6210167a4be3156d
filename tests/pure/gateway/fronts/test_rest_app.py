"""The REST front's application, asked as an ASGI server asks it."""

import asyncio
import json
import re

import pytest

from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.fronts.grpc.access import parse_rules
from penstock.gateway.fronts.http.app import RestApp, Route
from penstock.gateway.fronts.http.exchange import Reply
from penstock.gateway.offload import Offload

MOST = 1000
HEADER = b"triton-grpc-protocol-admin"


async def echo(exchange, _):
    return Reply([await exchange.read()])


async def fine(_, parts):
    return Reply([json.dumps(parts).encode()])


async def never(*_):
    await asyncio.Event().wait()


ROUTES = (
    Route(re.compile("/livez"), ("GET",), "", fine),
    Route(re.compile("/live"), ("GET",), "ServerLive", fine),
    Route(re.compile("/infer"), ("POST",), "ModelInfer", echo),
    Route(re.compile("/never"), ("GET",), "ModelInfer", never),
    Route(re.compile("/m/(?P<model>[^/]+)"), ("GET",), "ModelConfig", fine),
)


class Client:
    """One request at a time, in parts, and what comes of it."""

    def __init__(self, *rules, known=True):
        event = asyncio.Event()
        if known:
            event.set()
        self.app = RestApp(
            ROUTES, parse_rules(rules), MOST, Offload(), event, Authenticator("none")
        )
        self.sent = []

    async def ask(self, path, *headers, method="GET", body=(b"",), gone=False):
        events = [
            {"type": "http.request", "body": part, "more_body": at < len(body) - 1}
            for at, part in enumerate(body)
        ]
        if gone:
            events = [{"type": "http.disconnect"}]

        async def receive():
            return events.pop(0)

        async def send(event):
            self.sent.append(event)

        scope = {"type": "http", "method": method, "raw_path": path.encode(), "headers": headers}
        await self.app({**scope, "client": ("127.0.0.1", 1)}, receive, send)
        return self.sent[0]["status"] if self.sent else None

    def body(self):
        return b"".join(event.get("body", b"") for event in self.sent)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/m/x", [], 403),
        ("/m/x", [(HEADER, b"wrong")], 403),
        ("/m/x", [(HEADER, b"")], 403),
        ("/m/x", [(HEADER, b"secret")], 200),
        ("/live", [], 200),
        ("/livez", [], 200),
    ],
)
async def test_what_is_restricted_over_grpc_is_restricted_here(path, headers, status):
    client = Client("model-config:admin=secret")

    assert await client.ask(path, *headers) == status
    assert status == 200 or b"expecting header 'triton-grpc-protocol-admin'" in client.body()


@pytest.mark.parametrize(("path", "status"), [("/livez", 200), ("/live", 200), ("/m/x", 503)])
async def test_before_the_models_are_known_it_says_that_it_is_alive(path, status):
    assert await Client(known=False).ask(path) == status


async def test_parts_of_the_path_come_without_escapes():
    client = Client()

    assert await client.ask("/m/a%20b?query=1") == 200
    assert json.loads(client.body()) == {"model": "a b"}


@pytest.mark.parametrize(
    ("size", "count", "status"), [(100, 10, 200), (100, 11, 413), (2000, 1, 413)]
)
async def test_a_body_without_a_length_is_counted(size, count, status):
    found = await Client().ask("/infer", method="POST", body=(b"x" * size,) * count)

    assert found == status


async def test_a_length_that_is_too_large_is_refused_before_the_body_is_read():
    assert await Client().ask("/infer", (b"content-length", b"1001"), method="POST", body=()) == 413


async def test_whoever_has_gone_is_told_nothing():
    assert await Client().ask("/infer", method="POST", gone=True) is None


async def test_who_waits_when_the_gateway_stops_hears_of_it():
    client = Client()
    asking = asyncio.create_task(client.ask("/never"))
    await asyncio.sleep(0)
    asking.cancel()

    assert await asking == 503
    assert "has stopped accepting new requests" in json.loads(client.body())["error"]


@pytest.mark.parametrize("size", [0, 1, 1 << 15, (1 << 15) + 1, 3 << 15, 100_000])
async def test_a_long_answer_is_sent_in_parts(size):
    client = Client()
    client.app._most = 1 << 20

    assert await client.ask("/infer", method="POST", body=(b"x" * size,)) == 200
    parts = client.sent[1:]
    assert client.body() == b"x" * size
    assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]
    assert max(len(part["body"]) for part in parts) <= 1 << 15
