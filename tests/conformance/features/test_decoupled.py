"""Decoupled models through Triton's own clients, and Penstock's: no response, one, or many."""

import asyncio
import csv
import json
import subprocess
import sys
from contextlib import aclosing

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from support.models.decoupled import Stream, addends, counted, is_final, numbers, write_counter
from support.models.onnx_models import write_add_sub
from support.processes.cluster import Cluster
from support.waiting import until
from tritonclient.utils import InferenceServerException

from penstock.client import AsyncClient, Client
from penstock.errors import DeadlineExceeded, InvalidRequest, ModelNotFound, PenstockError

REFUSED = "ModelInfer RPC doesn't support models with decoupled transaction policy"


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    return tmp_path_factory.mktemp("notes")


@pytest.fixture(scope="module")
def running(tmp_path_factory, notes):
    repository = tmp_path_factory.mktemp("decoupled-models")
    write_counter(repository, notes, count=2)
    write_add_sub(repository)
    folder = tmp_path_factory.mktemp("decoupled-cluster")
    one = Cluster(folder, repository, "--allow-python-models")
    with one.running():
        yield one


@pytest.fixture
def client(running):
    with triton.InferenceServerClient(running.url) as client:
        yield client
        client.stop_stream(cancel_requests=True)


@pytest.fixture
def stream(client):
    return Stream(client)


def test_it_says_that_it_is_decoupled(client):
    policy = client.get_model_config("counter").config.model_transaction_policy

    assert policy.decoupled


def test_a_unary_call_is_refused_in_triton_s_words(client):
    with pytest.raises(InferenceServerException) as caught:
        client.infer("counter", counted(1), client_timeout=20)

    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
    assert caught.value.message() == REFUSED


@pytest.mark.parametrize("count", [0, 1, 200])
def test_there_are_as_many_responses_as_the_model_makes_and_a_final_one(stream, count):
    stream.ask(count, "mine")

    found, error = stream.all()

    assert error is None
    assert numbers(found) == list(range(count))
    assert {result.get_response().id for result in found} <= {"mine"}


def test_the_final_response_is_empty_and_says_what_it_ends(stream):
    stream.ask(1, "mine")

    (first, _), (final, _) = stream.next(), stream.next()

    assert not is_final(first)
    response = final.get_response()
    assert is_final(final)
    assert (response.id, response.model_name, response.model_version) == ("mine", "counter", "1")
    assert not response.outputs
    assert not response.raw_output_contents
    assert list(response.parameters) == ["triton_final_response"]


def test_nobody_gets_a_final_response_without_asking(client, stream):
    client.async_stream_infer("counter", counted(2), request_id="a")
    first = [stream.next()[0] for _ in range(2)]
    stream.ask(0, "b")

    final, _ = stream.next()

    assert numbers(first) == [0, 1]
    assert not any(map(is_final, first))
    assert final.get_response().id == "b"


def test_requests_of_one_stream_are_answered_as_their_responses_come(client, stream, notes):
    stream.ask(2, "slow", gate="opened-later")
    first, _ = stream.next()
    stream.ask(2, "quick")
    client.async_stream_infer("add_sub", addends(), request_id="plain")

    others = [stream.next()[0].get_response().id for _ in range(4)]
    (notes / "opened-later").touch()
    rest, error = stream.all()

    assert first.get_response().id == "slow"
    assert sorted(others) == ["plain", "quick", "quick", "quick"]
    assert error is None
    assert [result.get_response().id for result in rest] == ["slow"]


def test_responses_before_a_failure_are_passed_on_and_the_stream_goes_on(stream):
    stream.ask(5, "failed", fail_at=3)
    found, error = stream.all()
    stream.ask(1, "after")
    after, _ = stream.all()

    assert numbers(found) == [0, 1, 2]
    assert error.message() == "no more"
    assert numbers(after) == [0]


def test_a_failure_ends_the_stream_with_its_status_if_the_client_wants_it(client):
    stream = Stream(client, headers={"triton_grpc_error": "true"})
    stream.ask(5, fail_at=1)

    found, error = stream.all()

    assert numbers(found) == [0]
    assert (error.status(), error.message()) == ("StatusCode.INVALID_ARGUMENT", "no more")


def test_what_cannot_be_right_is_refused_before_anything_is_run(client, stream):
    wrong = triton.InferInput("count", [2], "INT32")
    wrong.set_data_from_numpy(np.ones(2, np.int32))
    client.async_stream_infer("counter", [wrong], request_id="x")

    _, error = stream.next()

    assert error.message().startswith("[request id: x] unexpected shape for input 'count'")


async def test_cancelling_the_stream_stops_the_model(client, stream, notes):
    stream.ask(1_000_000, note="cancelled", pause=0.001)
    stream.next()

    client.stop_stream(cancel_requests=True)

    await until((notes / "cancelled").exists, 30)
    assert 0 < int((notes / "cancelled").read_text()) < 1_000_000


async def test_the_deadline_stops_the_model(client, notes):
    stream = Stream(client, stream_timeout=1.0)
    stream.ask(1_000_000, note="late", pause=0.001)

    found, error = stream.all()

    assert error.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert numbers(found) == list(range(len(found)))
    await until((notes / "late").exists, 30)


def test_half_closing_passes_everything_on_first(client, stream):
    stream.ask(50, "a")
    stream.ask(50, "b")

    client.stop_stream()

    found = [stream.next()[0] for _ in range(102)]
    assert sum(map(is_final, found)) == 2
    assert numbers(r for r in found if not is_final(r) and r.get_response().id == "a") == list(
        range(50)
    )


def test_each_request_counts_once(client, stream):
    def counts():
        (one,) = client.get_inference_statistics("counter", "1").model_stats
        stats = one.inference_stats
        return [
            s.count for s in (stats.success, stats.queue, stats.compute_input, stats.compute_infer)
        ]

    before = counts()
    stream.ask(7)
    stream.all()

    assert counts() == [count + 1 for count in before]


async def test_streams_of_the_asyncio_client(running):
    async def requests():
        for number in (3, 0, 2):
            yield {
                "model_name": "counter",
                "inputs": counted(number, triton_aio.InferInput),
                "request_id": str(number),
            }

    async with triton_aio.InferenceServerClient(running.url) as client:
        answers = [answer async for answer in client.stream_infer(requests())]

    assert all(error is None for _, error in answers)
    by_id = {}
    for result, _ in answers:
        by_id.setdefault(result.get_response().id, []).append(result)
    assert {id_: numbers(found) for id_, found in by_id.items()} == {"3": [0, 1, 2], "2": [0, 1]}


async def test_a_cancelled_stream_of_the_asyncio_client_stops_the_model(running, notes):
    async def requests():
        yield {
            "model_name": "counter",
            "inputs": counted(1_000_000, triton_aio.InferInput),
            "parameters": {"note": "cancelled-aio", "pause": 0.001},
        }
        await asyncio.Event().wait()

    async with triton_aio.InferenceServerClient(running.url) as client:
        answers = client.stream_infer(requests())
        await anext(aiter(answers))
        answers.cancel()

    await until((notes / "cancelled-aio").exists, 30)


@pytest.mark.parametrize("count", [1, 3])
def test_perf_analyzer_streams(perf_analyzer, running, tmp_path, count):
    report, given = tmp_path / "report.csv", tmp_path / "given.json"
    given.write_text(json.dumps({"data": [{"count": [count]}]}))

    perf_analyzer(
        *("-m", "counter", "-i", "grpc", "-u", running.url, "--streaming"),
        *("--input-data", str(given), "--concurrency-range", "4"),
        *("-f", str(report)),
    )

    with report.open() as file:
        (row,) = list(csv.DictReader(file))
    assert float(row["Inferences/Second"]) > 0
    assert float(row["Server Compute Infer"]) > 0


def test_each_response_counts_in_its_place(client):
    def response_stats():
        (found,) = client.get_inference_statistics("counter").model_stats
        return found.response_stats

    def counts(name):
        found = response_stats()
        return [getattr(found[str(place)], name).count for place in range(4)]

    names = ("success", "compute_infer", "compute_output", "empty_response", "fail")
    before = {name: counts(name) for name in names}
    stream = Stream(client)
    stream.ask(2, pause=0.01)
    stream.all()
    stream.ask(9, fail_at=3)
    stream.all()

    def more(name):
        return [now - then for now, then in zip(counts(name), before[name], strict=True)]

    for name in ("success", "compute_infer", "compute_output"):
        assert more(name) == [2, 2, 1, 0]
    assert more("empty_response") == [0, 0, 1, 0]
    assert more("fail") == [0, 0, 0, 1]
    assert response_stats()["1"].compute_infer.ns > 0


class TestPenstocksClient:
    """The same through `penstock.client`, blocking and for asyncio, and `penstock infer`."""

    @pytest.fixture(params=["blocking", "asyncio"])
    def ask(self, request, running):
        """All replies to one request, and the error that ended them."""

        def blocking(found, model, inputs, **asked):
            with Client(running.url) as client:
                for reply in client.infer_stream(model, inputs, **asked):
                    found.append(reply)

        async def for_asyncio(found, model, inputs, **asked):
            async with AsyncClient(running.url) as client:
                async for reply in client.infer_stream(model, inputs, **asked):
                    found.append(reply)

        def all_of(*args, **asked):
            found = []
            try:
                if request.param == "blocking":
                    blocking(found, *args, **asked)
                else:
                    asyncio.run(for_asyncio(found, *args, **asked))
            except PenstockError as error:
                return found, error
            return found, None

        return all_of

    @pytest.mark.parametrize("count", [0, 1, 100])
    def test_every_reply_comes_once_and_in_order(self, ask, count):
        found, error = ask("counter", {"count": np.array([count], np.int32)}, request_id="mine")

        assert error is None
        assert [int(reply["number"][0]) for reply in found] == list(range(count))
        assert {reply.id for reply in found} <= {"mine"}
        assert all("triton_final_response" not in reply.parameters for reply in found)

    def test_a_model_that_answers_once_gives_one_reply(self, ask):
        ones = np.ones((1, 16), np.int32)
        found, error = ask("add_sub", {"INPUT0": ones, "INPUT1": ones}, outputs=["OUTPUT0"])

        assert error is None
        assert [(list(reply), int(reply["OUTPUT0"][0, 0])) for reply in found] == [(["OUTPUT0"], 2)]

    def test_a_failure_is_raised_after_the_replies_before_it(self, ask):
        found, error = ask("counter", {"count": np.array([9], np.int32)}, parameters={"fail_at": 2})

        assert [int(reply["number"][0]) for reply in found] == [0, 1]
        assert isinstance(error, InvalidRequest)
        assert str(error) == "no more"

    def test_a_refusal_has_its_own_class(self, ask):
        assert isinstance(ask("nobody", {})[1], ModelNotFound)

    def test_the_deadline_ends_the_replies(self, ask):
        found, error = ask(
            "counter",
            {"count": np.array([100_000], np.int32)},
            parameters={"pause": 0.05},
            deadline_s=2,
        )

        assert found
        assert isinstance(error, DeadlineExceeded)

    async def test_replies_come_as_they_are_made_and_leaving_the_loop_ends_them(
        self, running, notes
    ):
        inputs = {"count": np.array([100_000], np.int32)}

        def asked(name):
            return {"gate": f"{name}-gate", "gate_at": 3, "note": f"{name}-left", "pause": 0.01}

        def blocking():
            with Client(running.url) as client:
                for reply in client.infer_stream("counter", inputs, parameters=asked("blocking")):
                    if reply["number"][0] == 2:
                        break

        async def for_asyncio():
            async with AsyncClient(running.url) as client:
                replies = client.infer_stream("counter", inputs, parameters=asked("asyncio"))
                async with aclosing(replies):
                    async for reply in replies:
                        if reply["number"][0] == 2:
                            break

        # The model waits at the gate: each loop ends with what came before.
        await asyncio.gather(asyncio.to_thread(blocking), for_asyncio())
        for name in ("blocking", "asyncio"):
            (notes / f"{name}-gate").touch()

            async def left(name=name):
                return (notes / f"{name}-left").exists()

            await until(left)
            assert int((notes / f"{name}-left").read_text()) < 100_000

    def test_the_command_prints_one_reply_after_the_other(self, running):
        words = [sys.executable, "-m", "penstock", "infer", "counter", "--url", running.url]
        words += ["--input", "count=[3]"]

        def run(*options):
            ended = subprocess.run(
                [*words, *options], capture_output=True, text=True, timeout=60, check=False
            )
            assert ended.returncode == 0, ended.stderr
            return ended.stdout

        lines = [json.loads(line) for line in run("--json").splitlines()]
        assert [line["outputs"]["number"]["data"] for line in lines] == [[0], [1], [2]]
        assert run().count("counter version 1") == 3
