"""The access log: a line for each call over either protocol, and no secret in any."""

import asyncio
import contextlib
import http.client
import json

import grpc
from structlog.testing import capture_logs
from support.clients.keys import bearer
from support.processes.front import message
from support.waiting import until

from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.protos import grpc_service_pb2 as pb

READY = pb.ModelReadyRequest(name="digits").SerializeToString()


async def ended(call):
    """The name of its status."""
    with contextlib.suppress(grpc.RpcError):
        await call
    return (await call.code()).name


def lines_in(file, count):
    async def enough():
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        return lines if len(lines) >= count else None

    return until(enough, 20)


async def test_each_rpc_has_a_line(logging_calls):
    guarded, file = logging_calls
    id_, secret = await guarded.keyring.make("vision", "read")
    await guarded.settled()
    channel = guarded.front.channel
    ready, infer = channel.unary_unary(f"/{SERVICE}/ModelReady"), guarded.front.infer

    codes = [
        await ended(ready(READY, metadata=bearer(secret))),
        await ended(infer(message(values=2), metadata=bearer(secret))),
        await ended(ready(READY, metadata=bearer(secret[:-1]))),
    ]

    assert codes == ["OK", "PERMISSION_DENIED", "UNAUTHENTICATED"]
    right, wrong, unknown = await lines_in(file, 3)
    assert right["peer"].startswith("ipv4:127.0.0.1:")
    assert 0 < right["seconds"] < 60
    for line in (right, wrong, unknown):
        for name in ("time", "peer", "seconds"):
            del line[name]
    of_vision = {"caller": "vision", "key": id_, "protocol": "grpc"}
    assert right == {
        **of_vision,
        "method": f"{SERVICE}/ModelReady",
        "model": "digits",
        "code": "OK",
        "bytes_received": len(READY),
        "bytes_sent": 2,
    }
    # What is refused at the door is not read, so that nobody knows which model it is for.
    nothing = {"model": "", "bytes_received": 0, "bytes_sent": 0}
    infers = {"method": f"{SERVICE}/ModelInfer", "code": "PERMISSION_DENIED"}
    assert wrong == {**of_vision, **infers, **nothing}
    asks = {"method": f"{SERVICE}/ModelReady", "code": "UNAUTHENTICATED"}
    assert unknown == {"caller": "", "key": "", "protocol": "grpc", **asks, **nothing}
    assert secret.rpartition("_")[0] not in file.read_text()


async def test_a_call_that_its_client_gives_up_has_a_line(logging_calls):
    guarded, file = logging_calls
    _, secret = await guarded.keyring.make("vision", "infer")
    await guarded.settled()
    sent = message(values=2)

    late = await ended(guarded.front.infer(sent, metadata=bearer(secret), timeout=0.2))
    pending = guarded.front.gateway.delivery.pending
    await until(lambda: not len(pending))
    call = guarded.front.infer(sent, metadata=bearer(secret))
    await until(lambda: len(pending))
    call.cancel()

    assert late == "DEADLINE_EXCEEDED"
    first, second = await lines_in(file, 2)
    # A request that was held up on its way has time left when its client, which has not, goes.
    assert first["code"] in ("DEADLINE_EXCEEDED", "CANCELLED")
    assert second["code"] == "CANCELLED"
    assert {line["model"] for line in (first, second)} == {"digits"}
    assert {line["bytes_received"] for line in (first, second)} == {len(sent)}


async def test_a_long_request_has_a_line(logging_calls):
    """Of a size that clients send in one frame, which is handed on as it came."""
    guarded, file = logging_calls
    _, secret = await guarded.keyring.make("vision", "infer")
    await guarded.settled()
    sent = message(values=20_000)

    code = await ended(guarded.front.infer(sent, metadata=bearer(secret)))

    (line,) = await lines_in(file, 1)
    assert line["code"] == code == "INVALID_ARGUMENT"
    assert (line["model"], line["bytes_received"]) == ("digits", len(sent))


async def test_each_request_over_http_has_a_line(logging_calls):
    guarded, file = logging_calls
    _, secret = await guarded.keyring.make("vision", "read")
    await guarded.settled()

    def ask(method, path, body=b"", shown=secret):
        connection = http.client.HTTPConnection(guarded.front.address, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(bearer(shown)))
            answer = connection.getresponse()
            answer.read()
            return answer.status

    statuses = [
        await asyncio.to_thread(ask, "GET", "/v2/models/digits/ready"),
        await asyncio.to_thread(ask, "POST", "/v2/models/dig%69ts/infer", b"{}"),
        await asyncio.to_thread(ask, "GET", f"/v2/nothing?key={secret}", shown=None),
    ]

    assert statuses == [200, 403, 404]
    found = await lines_in(file, 3)
    assert [(line["caller"], line["method"], line["model"], line["code"]) for line in found] == [
        ("vision", f"{SERVICE}/ModelReady", "digits", 200),
        ("vision", f"{SERVICE}/ModelInfer", "digits", 403),
        ("", "/v2/nothing", "", 404),
    ]
    assert {line["protocol"] for line in found} == {"http"}
    assert found[1]["bytes_sent"] > 0
    assert secret.rpartition("_")[2] not in file.read_text()


async def test_who_moves_the_file_away_finds_another(logging_calls, tmp_path):
    guarded, file = logging_calls
    _, secret = await guarded.keyring.make("vision", "read")
    await guarded.settled()
    ready = guarded.front.channel.unary_unary(f"/{SERVICE}/ModelReady")
    await ready(READY, metadata=bearer(secret))
    await lines_in(file, 1)
    file.rename(tmp_path / "access.log.1")

    async def again():
        await ready(READY, metadata=bearer(secret))
        return file.exists()

    await until(again, 20)
    assert (await lines_in(file, 1))[0]["caller"] == "vision"


async def test_what_nobody_foresaw_is_logged_with_its_caller(logging_calls, monkeypatch):
    guarded, _ = logging_calls
    id_, secret = await guarded.keyring.make("vision", "read")
    await guarded.settled()
    monkeypatch.setattr(guarded.front.gateway.catalog, "ready", None)

    ready = guarded.front.channel.unary_unary(f"/{SERVICE}/ModelReady")
    with capture_logs() as lines:
        code = await ended(ready(READY, metadata=bearer(secret)))

    assert code == "INTERNAL"
    (line,) = [one for one in lines if "incident" in one]
    assert (line["caller"], line["key"]) == ("vision", id_)
