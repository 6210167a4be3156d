"""Requests over HTTP, from their bytes to the queue and back."""

import asyncio
import contextlib
import json
import sys

import pytest
from support.probe import FIRST, NO_TIME
from support.processes.front import serving
from support.waiting import until

from penstock.errors import Code
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.types import Outcome

INFER = "/v2/models/digits/infer"
REQUEST = {
    "id": "mine",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}],
}


@pytest.fixture
async def front(redis_url):
    async with serving(redis_url, values=2, http=True, http_port=0, max_unread_mib=64) as one:
        yield one


class Asking:
    """One request over a connection of its own."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def answer(self):
        """Status, headers, and the body."""
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers, body


@contextlib.asynccontextmanager
async def asking(front, request=REQUEST, path=INFER):
    body = json.dumps(request).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection(*front.address.split(":"), limit=1 << 16)
    writer.write(head.encode() + body)
    try:
        yield Asking(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def lease(front):
    async def claimed():
        return next(iter((await front.probe.claim(rows=1)).leases), None)

    return await until(claimed)


async def settle(front, code=Code.OK, text="", size=8):
    """End the job that waits, with a reply whose output has so many bytes."""
    one = await lease(front)
    response = pb.ModelInferResponse(model_name="digits", model_version="1", id="mine")
    response.outputs.add(name="y", datatype="FP32", shape=[1, size // 4])
    response.raw_output_contents.append(bytes(size))
    reply = response.SerializeToString() if code is Code.OK else b""
    outcome = Outcome(one.id, code, text, reply)
    await front.probe.queue.settle(one.token, FIRST, 1, NO_TIME, [outcome])
    return one


async def test_a_request_becomes_a_job_and_its_reply_an_answer(front):
    async with asking(front) as one:
        job = await settle(front)
        status, headers, body = await one.answer()

    request = pb.ModelInferRequest.FromString(job.payload)
    assert (request.model_name, request.id) == ("digits", "mine")
    assert request.raw_input_contents[0] == b"\0\0\x80?\0\0\0@"
    assert (status, headers["content-type"]) == (200, "application/json")
    output = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.0, 0.0]}
    expected = {"id": "mine", "model_name": "digits", "model_version": "1", "outputs": [output]}
    assert json.loads(body) == expected


@pytest.mark.parametrize(
    ("code", "status"),
    [(Code.INVALID_ARGUMENT, 400), (Code.UNAVAILABLE, 503), (Code.DEADLINE_EXCEEDED, 504)],
)
async def test_a_failure_has_its_words_and_its_status(front, code, status):
    async with asking(front) as one:
        await settle(front, code, "for a reason")
        found, headers, body = await one.answer()

    assert (found, json.loads(body)) == (status, {"error": "for a reason"})
    assert ("retry-after" in headers) == (status == 503)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
async def test_whoever_leaves_takes_the_job_along(front):
    async with asking(front) as one:
        await until(lambda: len(front.gateway.delivery.pending))
        one.writer.transport.abort()

        await until(lambda: not len(front.gateway.delivery.pending))


async def test_a_gateway_that_drains_refuses_by_name(front):
    front.gateway.inference.draining = True

    async with asking(front) as one:
        status, headers, body = await one.answer()

    assert status == 503
    assert "retry-after" in headers
    assert "has stopped accepting new requests" in json.loads(body)["error"]


async def test_replies_that_nobody_reads_are_counted(front):
    request = {**REQUEST, "parameters": {"binary_data_output": True}}
    unread = front.gateway.calls.unread

    async with asking(front, request) as one:
        await settle(front, size=24 << 20)
        await until(lambda: unread.held >= 24 << 20)
        one.writer.transport.abort()

        await until(lambda: unread.held == 0)
