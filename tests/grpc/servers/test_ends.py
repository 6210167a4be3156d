"""Calls that end early: by their deadline, their client, their server, or with their connection."""

import contextlib
import json
import threading
import time

import grpc
import pytest
from hyperframe.frame import SettingsFrame
from support.clients.http2_abuse import Connection
from support.servers.rpc_server import serving

LONG_S = 60
CODE = grpc.StatusCode


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return CODE.OK


@pytest.fixture
def cancelled(client):
    """Waits until the handlers of so many more calls were cancelled."""
    before = client.seen()["cancelled"]

    def wait(count):
        ends = time.monotonic() + 30
        while client.seen()["cancelled"] < before + count:
            assert time.monotonic() < ends, "the handler goes on"
            time.sleep(0.01)

    return wait


@pytest.fixture
def endless():
    """Messages without end, until the test ends."""
    over = threading.Event()

    def messages(size=10, pause_s=0.001):
        while not over.wait(pause_s):
            yield bytes(size)

    yield messages
    over.set()


def test_a_deadline_ends_the_call_and_its_handler(client, cancelled):
    assert code_of(lambda: client.one("Sleep")(b"60", timeout=0.2)) is CODE.DEADLINE_EXCEEDED
    cancelled(1)


def test_a_deadline_ends_a_stream(client, cancelled):
    call = client.answers("Stream")(b"1000000 10 0.01", timeout=0.3)

    assert code_of(lambda: list(call)) is CODE.DEADLINE_EXCEEDED
    cancelled(1)


def test_a_client_gives_up_waiting(client, cancelled):
    call = client.one("Sleep").future(b"60")
    client.seen()
    call.cancel()

    cancelled(1)


def test_a_client_gives_up_reading(client, cancelled):
    call = client.answers("Stream")(b"1000000 10 0.001")
    next(call)
    call.cancel()

    assert code_of(lambda: next(call)) is CODE.CANCELLED
    cancelled(1)


def test_a_client_gives_up_sending(client, cancelled, endless, kind):
    call = client.converses("Chat")(endless())
    next(call)
    call.cancel()

    # grpc.aio's handler hears of the end of the messages, which ends it as well.
    if kind != "aio":
        cancelled(1)


def test_a_client_gives_up_while_nobody_reads(client, cancelled, endless):
    call = client.converses("Deaf")(endless())
    client.seen()
    call.cancel()

    cancelled(1)


def test_a_connection_closes(connect, cancelled):
    other = connect()
    call = other.one("Sleep").future(b"60")
    other.seen()
    other.channel.close()

    cancelled(1)
    assert call.done()


@pytest.mark.parametrize(
    ("method", "code"), [("Enough", CODE.FAILED_PRECONDITION), ("Fine", CODE.OK)]
)
def test_a_server_has_heard_enough(client, endless, method, code):
    for _ in range(10):
        call = client.converses(method)(endless(size=10_000, pause_s=0), timeout=LONG_S)
        assert code_of(lambda call=call: list(call)) is code

    assert client.one("Echo")(b"still here", timeout=LONG_S) == b"still here"


def test_clients_try_again_what_is_refused(connect):
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "0.1s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    client = connect(**{"grpc.service_config": config, "grpc.enable_retries": 1})

    assert code_of(lambda: client.one("Fail")(b"14 x", timeout=LONG_S)) is CODE.UNAVAILABLE


def test_very_many_calls_at_once(client):
    calls = [client.one("Sleep").future(b"0.2", timeout=LONG_S) for _ in range(1000)]

    assert {code_of(call.result) for call in calls} == {CODE.OK}


@pytest.mark.parametrize("ms", [10, 1000])
def test_clients_may_ask_whether_anybody_is_there(connect, ms):
    client = connect(
        **{
            "grpc.keepalive_time_ms": ms,
            "grpc.keepalive_timeout_ms": 20_000,
            "grpc.keepalive_permit_without_calls": 1,
            "grpc.http2.max_pings_without_data": 0,
        }
    )

    assert client.one("Sleep")(b"1.2", timeout=LONG_S) == b"slept"
    assert client.one("Echo")(b"x", timeout=LONG_S) == b"x"


def test_a_client_that_does_not_say_whether_it_is_there_is_cut_off():
    with serving("aio", grpc_keepalive_time=100, grpc_keepalive_timeout=300) as address:
        client = Connection(address)
        client.send(SettingsFrame(0, flags=["ACK"]).serialize())
        client.socket.settimeout(20)

        with client.socket, contextlib.suppress(ConnectionResetError):
            while client.socket.recv(65536):
                pass


def test_uploads_that_nobody_reads_hold_up_no_other_call(client):
    calls = [client.converses("Deaf")(iter([bytes(8 << 20)])) for _ in range(16)]

    assert client.one("Echo")(b"x", timeout=LONG_S) == b"x"
    for call in calls:
        call.cancel()


def test_many_who_give_up_cost_their_connection_nothing(client, request, kind):
    if kind == "asgi":
        # More than 200 in ten seconds: h2corn ends the connection, and nothing can be set. The
        # release in which this passes changes what ADR 0034 says.
        request.applymarker(pytest.mark.xfail(strict=True, reason="h2corn's limit of resets"))
    stays = client.one("Sleep").future(b"3", timeout=LONG_S)
    for _ in range(201):
        call = client.one("Sleep").future(b"60")
        client.one("Echo")(b"", timeout=LONG_S)
        call.cancel()

    assert code_of(stays.result) is CODE.OK
