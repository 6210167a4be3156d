"""Both clients against a real server in another process: the same calls, the same answers."""

import asyncio
import contextlib
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator

import ml_dtypes
import numpy as np
import pytest
from support.servers.echo_server import running

from penstock.client import (
    AsyncClient,
    CallFailed,
    Client,
    InferResult,
    RetryPolicy,
    Unavailable,
    bf16,
)
from penstock.errors import (
    Cancelled,
    Code,
    DeadlineExceeded,
    InvalidConfiguration,
    InvalidRequest,
    ModelNotFound,
    Unimplemented,
)

QUICK = RetryPolicy(first_delay_s=0.01, longest_delay_s=0.2)


@pytest.fixture(scope="module")
def url():
    with running() as address:
        yield address


class Either:
    """Calls one of the two clients; what it returns is awaited if need be."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        async def call(*args, **kwargs):
            if isinstance(self._client, Client):
                return await asyncio.to_thread(getattr(self._client, name), *args, **kwargs)
            return await getattr(self._client, name)(*args, **kwargs)

        return call


@pytest.fixture(params=["blocking", "aio"])
async def client(request, url):
    if request.param == "blocking":
        with Client(url, retry=QUICK) as client:
            yield Either(client)
    else:
        async with AsyncClient(url, retry=QUICK) as client:
            yield Either(client)


def test_the_two_clients_have_the_same_calls():
    def calls(kind):
        return {
            name: inspect.signature(member)
            for name, member in vars(kind).items()
            if inspect.isfunction(member) and not name.startswith("_")
        }

    blocking, for_asyncio = calls(Client), calls(AsyncClient)
    streams = [one.pop("infer_stream") for one in (blocking, for_asyncio)]
    assert blocking == for_asyncio
    # They give the same, each in its own kind of loop.
    assert streams[0].parameters == streams[1].parameters
    assert [stream.return_annotation for stream in streams] == [
        Iterator[InferResult],
        AsyncGenerator[InferResult, None],
    ]


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
)
async def test_numbers_come_back_as_they_were_sent(client, dtype):
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)

    result = await client.infer("echo", {"x": array})

    assert result["x"].dtype == array.dtype
    np.testing.assert_array_equal(result["x"], array)


async def test_text_comes_back_as_bytes(client):
    result = await client.infer("echo", {"x": [["ä", ""]], "y": np.array([b"\xff"], object)})

    assert result["x"].tolist() == [["ä".encode(), b""]]
    assert result["y"].tolist() == [b"\xff"]


async def test_bfloat16_is_sent_rounded_and_comes_back_as_float32(client):
    numbers = [1.0, 3.1415926]
    both = {"x": bf16(numbers), "y": np.array(numbers, ml_dtypes.bfloat16)}

    result = await client.infer("echo", both)

    for name in both:
        assert result.datatype(name) == "BF16"
        assert result[name].tolist() == [1.0, 3.140625]


async def test_a_request_says_everything_that_it_was_given(client):
    result = await client.infer(
        "echo",
        {"x": [1.0]},
        version=3,
        outputs=["x"],
        request_id="mine",
        priority=2,
        parameters={"yes": True, "half": 0.5, "word": "w"},
    )

    assert (result.model_name, result.model_version, result.id) == ("echo", 3, "mine")
    assert list(result) == ["x"]
    assert {"priority": 2, "yes": True, "half": 0.5, "word": "w", "wanted": "x"}.items() <= (
        result.parameters.items()
    )


async def test_messages_of_many_mebibytes_pass(client):
    array = np.zeros((20, 1024, 1024), np.uint8)

    assert (await client.infer("echo", {"x": array}))["x"].nbytes == array.nbytes


async def test_a_shape_that_the_protocol_cannot_name_is_refused_here(client):
    with pytest.raises(InvalidRequest, match="complex"):
        await client.infer("echo", {"x": np.zeros(1, complex)})


async def test_the_other_calls_answer(client):
    assert await client.live()
    assert await client.ready()
    assert await client.model_ready("echo")
    assert not await client.model_ready("other", 2)
    assert (await client.server_metadata()).name == "echo"
    assert (await client.model_metadata("echo", 2)).versions == ["2"]
    assert (await client.model_config("echo")).name == "echo"
    assert [entry.name for entry in await client.statistics("echo")] == ["echo"]
    assert [entry.state for entry in await client.index()] == ["READY"]
    assert (await client.status("m")).versions[0].model == "m"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.INVALID_ARGUMENT, InvalidRequest),
        (Code.NOT_FOUND, ModelNotFound),
        (Code.UNIMPLEMENTED, Unimplemented),
        (Code.DEADLINE_EXCEEDED, DeadlineExceeded),
        (Code.INTERNAL, CallFailed),
        (Code.RESOURCE_EXHAUSTED, CallFailed),
    ],
)
async def test_a_refusal_is_raised_once_with_its_code_and_text(client, code, kind):
    asked = {"fail": int(code), "text": "no"}
    name = f"once-{code}-{time.monotonic_ns()}"

    with pytest.raises(kind, match=r"^no$") as caught:
        await client.infer("echo", {"x": [1]}, request_id=name, parameters=asked)

    assert caught.value.code is code
    again = await client.infer("echo", {"x": [1]}, request_id=name)
    assert again.parameters["calls"] == 2


async def test_a_request_that_was_not_taken_is_repeated(client):
    asked = {"fail": 14, "text": "busy", "times": 2}

    result = await client.infer(
        "echo", {"x": [1]}, request_id=f"r{time.monotonic_ns()}", parameters=asked
    )

    assert result.parameters["calls"] == 3


async def test_a_request_that_a_stopping_server_dropped_is_repeated(client):
    asked = {"fail": 1, "text": "", "times": 1}

    result = await client.infer(
        "echo", {"x": [1]}, request_id=f"s{time.monotonic_ns()}", parameters=asked
    )

    assert result.parameters["calls"] == 2


async def test_a_cancellation_that_says_why_is_an_answer(client):
    asked = {"fail": 1, "text": "withdrawn", "times": 1}

    with pytest.raises(Cancelled, match="withdrawn"):
        await client.infer(
            "echo", {"x": [1]}, request_id=f"w{time.monotonic_ns()}", parameters=asked
        )


async def test_the_server_says_how_long_to_wait(client):
    asked = {"fail": 14, "text": "busy", "times": 1, "pushback": "300"}
    began = time.monotonic()

    await client.infer("echo", {"x": [1]}, request_id=f"p{time.monotonic_ns()}", parameters=asked)

    assert time.monotonic() - began >= 0.3


async def test_being_asked_to_come_back_counts_apart_from_failed_attempts(client):
    asked = {"fail": 14, "text": "draining", "times": QUICK.attempts + 3, "pushback": "0"}

    result = await client.infer(
        "echo", {"x": [1]}, request_id=f"d{time.monotonic_ns()}", parameters=asked
    )

    assert result.parameters["calls"] == QUICK.attempts + 4


@pytest.mark.parametrize("pushback", ["-1", "soon"])
async def test_the_server_can_forbid_repetition(client, pushback):
    asked = {"fail": 14, "text": "never", "times": 1, "pushback": pushback}

    with pytest.raises(Unavailable, match="never"):
        await client.infer(
            "echo", {"x": [1]}, request_id=f"n{time.monotonic_ns()}", parameters=asked
        )


async def test_repetition_ends_after_the_policys_attempts(client):
    name = f"e{time.monotonic_ns()}"

    with pytest.raises(Unavailable, match="busy"):
        await client.infer(
            "echo", {"x": [1]}, request_id=name, parameters={"fail": 14, "text": "busy"}
        )

    again = await client.infer("echo", {"x": [1]}, request_id=name)
    assert again.parameters["calls"] == QUICK.attempts + 1


async def test_calls_that_the_server_asked_to_repeat_do_not_count_as_failed(client):
    """A gateway that drains sends its clients back many times, and is away for a moment then."""
    asked = {"fail": 14, "text": "draining", "pushback": "0", "pushbacks": 2 * QUICK.attempts}
    asked["times"] = asked["pushbacks"] + 2

    answer = await client.infer(
        "echo", {"x": [1]}, request_id=f"p{time.monotonic_ns()}", parameters=asked
    )

    assert answer.parameters["calls"] == asked["times"] + 1


async def test_a_server_that_is_about_to_go_gets_no_more_calls_until_it_is_back(client):
    """With no other server, its clients keep their calls back."""
    await client.infer("echo", {"x": [1]}, parameters={"leaves_s": 2.5})

    async def ask_until_told():
        ends_s = time.monotonic() + 2.5
        while time.monotonic() < ends_s:
            await client.infer("echo", {"x": [1]}, deadline_s=1.0)

    with pytest.raises(Unavailable, match="shutting down, and there is no other") as caught:
        await ask_until_told()

    # A step of a sequence would not be repeated if the server might have taken it.
    answer = await client.infer("echo", {"x": [1]}, parameters={"sequence_id": 7})

    assert caught.value.retry_after_ms == 100
    assert "away" not in answer.parameters


@pytest.mark.parametrize(("pushback", "calls"), [({}, 1), ({"pushback": "0"}, 2)])
async def test_a_step_of_a_sequence_is_repeated_only_where_it_was_not_taken(
    client, pushback, calls
):
    """Without the gateway's word that it can come again it may have been done."""
    name = f"s{time.monotonic_ns()}"
    asked = {"fail": 14, "text": "Socket closed", "times": 1, "sequence_id": 7, **pushback}

    with contextlib.nullcontext() if pushback else pytest.raises(Unavailable, match="closed"):
        await client.infer("echo", {"x": [1]}, request_id=name, parameters=asked)

    again = await client.infer("echo", {"x": [1]}, request_id=name)
    assert again.parameters["calls"] == calls + 1


async def test_a_repetition_that_would_miss_the_deadline_is_not_waited_for(client):
    asked = {"fail": 14, "text": "busy", "pushback": "30000"}

    with pytest.raises(Unavailable) as caught:
        await client.infer("echo", {"x": [1]}, parameters=asked, deadline_s=25)

    # Neither until it may come back nor until its deadline, whose error would be another.
    assert caught.value.retry_after_ms == 30000


async def test_the_deadline_ends_a_call(client):
    with pytest.raises(DeadlineExceeded):
        await client.infer("echo", {"x": [1]}, parameters={"wait_s": 20.0}, deadline_s=0.2)


async def test_a_cancelled_task_ends_its_call(url):
    async with AsyncClient(url) as client:
        call = asyncio.create_task(client.infer("echo", {"x": [1]}, parameters={"wait_s": 20.0}))
        await client.live()
        call.cancel()

        with pytest.raises(asyncio.CancelledError):
            await call


def test_several_gateways_are_used_in_turn(url):
    with running() as other, Client([url, other]) as client:
        deadline = time.monotonic() + 30
        servers = set()
        while len(servers) < 2 and time.monotonic() < deadline:
            servers.add(client.infer("echo", {"x": [1]}).parameters["server"])

    assert len(servers) == 2


def test_a_gateway_that_is_gone_does_not_stop_the_others(url):
    with Client([url, "127.0.0.1:1"], retry=QUICK) as client:
        assert all(client.live() for _ in range(10))


def test_no_gateway_at_all_is_unavailable():
    policy = RetryPolicy(attempts=2, first_delay_s=0.01)

    with Client("127.0.0.1:1", retry=policy) as client, pytest.raises(Unavailable):
        client.live()


def test_threads_may_share_a_client(url):
    with Client(url) as client:
        results = {}

        def ask(number):
            results[number] = client.infer("echo", {"x": [number]})["x"].item()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert results == {number: number for number in range(8)}


@pytest.mark.parametrize("urls", [[], "", ["a:1", "127.0.0.1:2"], ["127.0.0.1", "127.0.0.2:1"]])
def test_addresses_that_cannot_be_used_are_refused(urls):
    with pytest.raises(InvalidConfiguration):
        Client(urls)


def test_the_client_needs_no_server_libraries():
    code = (
        "import sys, penstock.client; "
        "print({'redis', 'pydantic', 'structlog', 'typer', 'torch', 'onnxruntime', 'rich'} "
        "& {name.partition('.')[0] for name in sys.modules})"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert printed.strip() == "set()"


@pytest.mark.parametrize("first", ["penstock.client", "tritonclient.grpc"])
def test_it_lives_beside_tritons_client(first):
    second = {"penstock.client", "tritonclient.grpc"} - {first}

    subprocess.run([sys.executable, "-c", f"import {first}, {second.pop()}"], check=True)
