"""A language model on a cluster: its answers are those of one process, whatever dies meanwhile."""

import json
import os
import signal
import urllib.request

import grpc
import numpy as np
import pytest
from support.clients.answers import Answers, request
from support.clients.load import eventually
from support.metrics import scrape
from support.models.language_versions import TOKENS, ask_all, expected, hold

from penstock.protos import grpc_service_pb2_grpc as pb_grpc


def test_answers_beside_each_other_are_those_of_one_process(answers, local):
    found = answers.ended(ask_all(answers))

    hold(local, found)
    assert max(len(answer.parts) for answer in found) > 20
    assert {answer.about["finish_reason"] for answer in found} == {"length"}
    assert found[0].about["completion_tokens"] == TOKENS
    assert found[1].about["seed"] == "1"


def _ask_for_logprobs(answers):
    sampled = {"temperature": 1.5, "seed": 4, "presence_penalty": 0.5}
    return answers.ask("tiny", "w", max_tokens=TOKENS, ignore_end=True, logprobs=3, **sampled)


def _workers(language_cluster):
    return set(language_cluster.processes()["worker"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["SIGKILL", "SIGSTOP"])
async def test_a_worker_that_dies_changes_no_byte_of_any_answer(
    number, answers, language_cluster, local
):
    workers = _workers(language_cluster)
    (undisturbed,) = answers.ended([_ask_for_logprobs(answers)])
    found = [*ask_all(answers, count=15), _ask_for_logprobs(answers)]
    answers.until(lambda: sum(len(answer.tokens) > 20 for answer in found) >= 4)
    victim = workers.pop()
    os.kill(victim, number)
    under_way = sum(not answer.ended for answer in found)

    answers.ended(found)

    hold(local, found[:-1])
    assert found[-1].logprobs == undisturbed.logprobs
    assert len(found[-1].logprobs) == TOKENS
    assert under_way > 0
    if number == signal.SIGSTOP:
        os.kill(victim, signal.SIGKILL)
    # Both are there again for the next test.
    assert await eventually(
        lambda: len(_workers(language_cluster)) == 2 and _ready(language_cluster)
    )


@pytest.mark.parametrize("role", ["store", "scheduler", "node"])
async def test_no_other_process_that_dies_changes_a_byte_either(
    role, answers, language_cluster, local
):
    found = ask_all(answers)
    answers.until(lambda: sum(len(answer.tokens) > 5 for answer in found) >= 4)
    killed = language_cluster.kill(role)
    under_way = sum(not answer.ended for answer in found)

    answers.ended(found)

    hold(local, found)
    assert under_way > 0
    back = language_cluster.processes
    assert await eventually(
        lambda: killed not in back()[role] and len(_workers(language_cluster)) == 2
    )
    assert await eventually(lambda: _ready(language_cluster))


def _ready(language_cluster):
    with urllib.request.urlopen(
        f"http://{language_cluster.http_url()}/v2/models/tiny/ready"
    ) as response:
        return response.status == 200


def test_a_seed_is_drawn_where_none_came_and_gives_the_same_answer_again(answers):
    asked = {"max_tokens": 30, "temperature": 2.0, "ignore_end": True}
    first, other = answers.ended([answers.ask("tiny", "hello", **asked) for _ in range(2)])
    sampling = json.dumps({**asked, "seed": int(first.about["seed"])})
    (again,) = answers.ended([answers.ask("tiny", "hello", sampling)])

    assert first.tokens != other.tokens
    assert again.tokens == first.tokens
    # Each has its own end.
    assert {**again.about, "penstock_ended": 0} == {**first.about, "penstock_ended": 0}


def _rows_told(language_cluster):
    told = scrape(language_cluster.metrics_url())
    return {of: n for (name, of), n in told.items() if name == "penstock_worker_rows_total"}


async def test_each_token_is_counted_for_the_worker_that_made_it(answers, language_cluster):
    before = _rows_told(language_cluster)
    answers.ended([answers.ask("tiny", "hello", max_tokens=30, ignore_end=True)])

    def more():
        # One that an earlier test has killed may have been told of then, and is no more.
        return sum(n - before.get(of, 0) for of, n in _rows_told(language_cluster).items())

    await eventually(lambda: more() >= 30)


async def test_what_its_workers_hold_was_measured(language_cluster):
    """Libraries, caches and texts as well: of the weights alone there are less than 3 MiB."""

    def held():
        told = scrape(language_cluster.metrics_url())
        return max(n for (name, _), n in told.items() if name == "penstock_device_held_bytes")

    await eventually(lambda: held() > 2 * 16 << 20)


def test_a_stop_string_ends_the_text_and_frees_the_slot(answers, local):
    tokens, text = expected(local, 0)
    stop = text[10:13]
    (found,) = answers.ended(
        [answers.ask("tiny", "hello", max_tokens=TOKENS, ignore_end=True, stop=stop)]
    )

    assert found.text == text[: text.index(stop)]
    assert found.about["finish_reason"] == "stop"
    assert found.tokens == tokens[: len(found.tokens)]
    assert len(found.tokens) < TOKENS


def test_tokens_may_be_given_and_only_text_be_asked_for(answers, local):
    tokens = local.tokenizer.encode("hello", special=True)
    (found,) = answers.ended([answers.ask("tiny", tokens, max_tokens=9, ignore_end=True)])
    asked = request("tiny", tokens, max_tokens=9, ignore_end=True)
    asked.outputs.add(name="text_output")
    stub = pb_grpc.GRPCInferenceServiceStub(answers._channel)
    responses = [one.infer_response for one in stub.ModelStreamInfer(iter([asked]))]

    assert {output.name for one in responses for output in one.outputs} == {"text_output"}
    assert b"".join(one.raw_output_contents[0][4:] for one in responses).decode() == found.text


def test_log_probabilities_are_an_output_that_has_to_be_asked_for(answers):
    whole, part = ({"max_tokens": 9, "ignore_end": True, **more} for more in ({"logprobs": 1}, {}))
    stub = pb_grpc.GRPCInferenceServiceStub(answers._channel)
    response = stub.ModelInfer(request("tiny", "w", **whole))
    names = [output.name for output in response.outputs]
    refused = request("tiny", "w", **part)
    refused.outputs.add(name="logprobs")

    assert names == ["text_output", "output_ids", "logprobs"]
    assert len(json.loads(response.raw_output_contents[2][4:])) == 9
    with pytest.raises(grpc.RpcError, match="needs the option logprobs"):
        stub.ModelInfer(refused)


def test_the_whole_answer_comes_at_once_where_that_is_asked_for(answers, local):
    stub = pb_grpc.GRPCInferenceServiceStub(answers._channel)
    asked = request("tiny", "hello", max_tokens=TOKENS, ignore_end=True)
    response = stub.ModelInfer(asked)
    tokens, text = expected(local, 0)

    names = [output.name for output in response.outputs]
    contents = dict(zip(names, response.raw_output_contents, strict=True))
    assert contents["text_output"][4:].decode() == text
    assert np.frombuffer(contents["output_ids"], "<i8").tolist() == tokens
    assert response.outputs[1].shape == [TOKENS]
    assert response.parameters["finish_reason"].string_param == "length"


def test_http_answers_at_once_as_well(language_cluster, local):
    body = json.dumps({"text_input": "hello", "max_tokens": 30, "ignore_end": True})
    asked = urllib.request.Request(
        f"http://{language_cluster.http_url()}/v2/models/tiny/generate", body.encode()
    )
    with urllib.request.urlopen(asked) as response:  # noqa: S310
        answer = json.loads(response.read())

    assert answer["text_output"] == expected(local, 0)[1][: len(answer["text_output"])]
    assert len(answer["output_ids"]) == 30


def test_http_streams_the_same_answer(language_cluster, local):
    body = json.dumps({"text_input": "hello", "max_tokens": TOKENS, "ignore_end": True})
    asked = urllib.request.Request(
        f"http://{language_cluster.http_url()}/v2/models/tiny/generate_stream", body.encode()
    )
    with urllib.request.urlopen(asked) as response:  # noqa: S310
        lines = response.read().decode().splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line]

    assert "".join(event.get("text_output", "") for event in events) == expected(local, 0)[1]


@pytest.mark.parametrize(
    ("prompt", "parameters", "message"),
    [
        ("x" * 500, {}, "the prompt has 500 tokens"),
        ([], {}, "the prompt has 0 tokens"),
        ([269], {}, "input_ids must be from 0 to 268"),
        ([-1], {}, "input_ids must be from 0 to 268"),
        ("x", {"temprature": 1.0}, "unknown option 'temprature'"),
        ("x", {"top_p": 2.0}, "top_p must be a number"),
        ("x", {"logprobs": 21}, "logprobs must be an integer from 0 to 20"),
        ("x", {"logit_bias": "{"}, "logit_bias must be a list or an object as JSON"),
    ],
)
def test_requests_that_cannot_be_are_refused_by_name(prompt, parameters, message, answers):
    (found,) = answers.ended([answers.ask("tiny", prompt, **parameters)])

    assert message in found.error


def test_an_answer_that_nobody_waits_for_any_more_frees_its_slot(language_cluster, local):
    """Sixteen clients leave in the middle; sixteen others are answered at once."""
    with Answers(language_cluster.url) as leaving:
        found = ask_all(leaving)
        leaving.until(lambda: any(answer.tokens for answer in found))
    with Answers(language_cluster.url) as answers:
        hold(local, answers.ended(ask_all(answers)))
