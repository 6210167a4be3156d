"""A gateway is killed under its streams: each goes on at another one, and nobody misses a byte."""

import contextlib
import http.client
import json

import grpc
import pytest
from support.clients.answers import Answers, request
from support.processes.roles import gateway, starting

from penstock.protos import grpc_service_pb2_grpc as pb_grpc

TOKENS = 100
PROMPTS = ["hello", "the world", "a", "in the hell", "w", "hello hello", "or", "x" * 90]
SAMPLED = {"temperature": 1.5, "top_p": 0.98, "presence_penalty": 0.5}


@pytest.fixture
def role(language_cluster, tmp_path):
    with starting(tmp_path, language_cluster.store_url()) as role:
        yield role


@pytest.fixture
async def victim(role, tmp_path):
    """Another gateway of the same cluster: (role, address of HTTP)."""
    file = tmp_path / "http"
    options = ("--http", "--http-port", "0", "--http-file", str(file), "--no-metrics")
    started, _ = await gateway(role, *options)
    return started, file.read_text().strip()


def _asked(number):
    """Half of the answers are drawn, without a seed: whoever goes on has to know it."""
    drawn = SAMPLED if number % 2 else {}
    return PROMPTS[number % 8], {"max_tokens": TOKENS, "ignore_end": True, **drawn}


def _ask(answers, number, name, **more):
    prompt, options = _asked(number)
    named = {"penstock_resume": f"{name}-{number}", **more}
    return answers.ask("tiny", prompt, **options, **named)


def _again(answers, number, name, had):
    """Go on with an answer, half of them without saying once more what was asked."""
    place = {"penstock_from": len(had.tokens)}
    if number % 3:
        return _ask(answers, number, name, **place)
    asked = request("tiny", "", penstock_resume=f"{name}-{number}", **place)
    del asked.inputs[:], asked.raw_input_contents[:]
    return answers.send(asked)


async def _broken_off(role, name):
    """Answers of a gateway that is killed under them, and the numbers of those under way."""
    started, url = await gateway(role, "--no-http", "--no-metrics")
    with Answers(url) as before:
        found = [_ask(before, number, name) for number in range(16)]
        before.until(lambda: sum(len(answer.tokens) > 5 for answer in found) >= 8)
        started.process.kill()
        before.ended(found)
    return found, [number for number, answer in enumerate(found) if answer.error]


async def test_streams_of_a_killed_gateway_go_on_at_another(role, language_cluster, local):
    found, under_way = [], []
    for name in map("killed-{}".format, range(5)):
        found, under_way = await _broken_off(role, name)
        # Where this process gets its turn late, most have ended by then.
        if len(under_way) > 8:
            break
    with Answers(language_cluster.url) as after:
        rest = {number: _again(after, number, name, found[number]) for number in under_way}
        after.ended(rest.values())

    assert len(under_way) > 8
    for number, answer in rest.items():
        prompt, options = _asked(number)
        assert answer.error == ""
        seeded = {**options, "seed": int(answer.about["seed"])} if number % 2 else options
        tokens, text = local.answer(prompt, **seeded)
        assert found[number].tokens + answer.tokens == tokens
        assert found[number].text + answer.text == text
        assert answer.about["penstock_at"] == TOKENS


def test_an_answer_may_be_had_again_from_any_place_after_its_end(language_cluster, local):
    with Answers(language_cluster.url) as answers:
        (whole,) = answers.ended([_ask(answers, 0, "again")])
        parts = [_ask(answers, 0, "again", penstock_from=begin) for begin in (0, 40, TOKENS)]
        answers.ended(parts)

    assert (whole.tokens, whole.text) == local.answer("hello", max_tokens=TOKENS)
    for begin, part in zip((0, 40, TOKENS), parts, strict=True):
        assert part.tokens == whole.tokens[begin:]
        assert whole.text.endswith(part.text)
        assert part.about == whole.about


def test_when_an_answer_began_is_what_the_first_request_says(language_cluster):
    with Answers(language_cluster.url) as answers:
        found = [
            answers.ended([_ask(answers, 0, "began", penstock_began=began_s)])[0]
            for began_s in (1_700_000_017, 1_700_000_018)
        ]

    assert [answer.about["penstock_began"] for answer in found] == [1_700_000_017] * 2


def test_a_stop_string_ends_an_answer_for_all_who_come_later(language_cluster, local):
    text = local.answer("hello", max_tokens=TOKENS)[1]
    asked = {"max_tokens": TOKENS, "ignore_end": True, "stop": text[20:23]}
    with Answers(language_cluster.url) as answers:
        first, again = (
            answers.ended([answers.ask("tiny", "hello", penstock_resume="stop", **asked)])[0]
            for _ in range(2)
        )

    assert first.text == again.text == text[: text.index(text[20:23])]
    assert first.about == again.about
    assert first.about["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"penstock_resume": "never"}, "has no answer 'never' of yours"),
        ({"penstock_from": 3}, "penstock_from needs penstock_resume"),
    ],
)
def test_what_is_not_there_cannot_be_gone_on_with(parameters, message, language_cluster):
    asked = request("tiny", "", **parameters)
    del asked.inputs[:], asked.raw_input_contents[:]
    with Answers(language_cluster.url) as answers:
        (found,) = answers.ended([answers.send(asked)])

    assert message in found.error


def test_a_name_is_for_one_request(language_cluster):
    with Answers(language_cluster.url) as answers:
        answers.ended([_ask(answers, 0, "one")])
        other = answers.ask("tiny", "other", penstock_resume="one-0", max_tokens=3)
        answers.ended([other])

    assert "the answer 'one-0' is that to another request" in other.error


BODY = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "hello"}],
    "n": 2,
    "temperature": 1.5,
    "max_tokens": TOKENS,
    "ignore_eos": True,
    "stream": True,
    "stream_options": {"include_usage": True},
}


@contextlib.contextmanager
def _posted(address, headers):
    with _asked_of(address, "POST", "/v1/chat/completions", BODY, headers) as response:
        yield response


@contextlib.contextmanager
def _asked_of(address, method, path, body=None, headers=None):
    host, _, port = address.partition(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port))) as connection:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, headers or {})
        with contextlib.closing(connection.getresponse()) as response:
            yield response


def _events(response, most=None):
    """The events that come, up to *most* or to the end: (id, data)."""
    found, id_ = [], None
    while most is None or len(found) < most:
        try:
            line = response.readline().decode()
        except (http.client.HTTPException, OSError):
            break
        if not line:
            break
        line = line.strip()
        if line.startswith("id: "):
            id_ = line[4:]
        elif line.startswith("data: "):
            found.append((id_, line[6:]))
            id_ = None
            if line == "data: [DONE]":
                break
    return found


async def test_server_sent_events_go_on_from_the_last_one(victim, language_cluster):
    started, address = victim
    headers = {"Penstock-Resume": "chat"}
    with _posted(address, headers) as response:
        before = _events(response, most=30)
        started.process.kill()
    last = [id_ for id_, _ in before if id_][-1]
    # As browsers do it: the request again, and the id of the last event.
    with _posted(language_cluster.http_url(), {"Last-Event-ID": last}) as response:
        after = _events(response)
    with _posted(language_cluster.http_url(), headers) as response:
        whole = _events(response)

    assert _texts(before + after) == _texts(whole)
    assert _ends(before + after) == _ends(whole) == {0: ["length"], 1: ["length"]}
    assert len({json.loads(data)["id"] for _, data in before + after[:-1] + whole[:-1]}) == 1
    assert len({json.loads(data)["created"] for _, data in before + after[:-1] + whole[:-1]}) == 1
    assert after[-2:] == whole[-2:]
    assert json.loads(after[-2][1])["usage"]["completion_tokens"] == 2 * TOKENS


def _choices(events):
    for _, data in events:
        yield from json.loads(data)["choices"] if data != "[DONE]" else ()


def _texts(events):
    texts = {0: "", 1: ""}
    for choice in _choices(events):
        texts[choice["index"]] += choice["delta"].get("content", "")
    return texts


def _ends(events):
    ends = {0: [], 1: []}
    for choice in _choices(events):
        if choice["finish_reason"]:
            ends[choice["index"]].append(choice["finish_reason"])
    return ends


def test_a_whole_answer_may_have_a_name_as_well(language_cluster, local):
    """The whole answer, twice under one name: the second time it is there already."""
    with grpc.insecure_channel(language_cluster.url) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        asked = request("tiny", "a", max_tokens=20, ignore_end=True, penstock_resume="unary")
        first, second = (stub.ModelInfer(asked) for _ in range(2))

    assert first == second
    contents = first.raw_output_contents
    assert contents[0][4:].decode() == local.answer("a", max_tokens=20)[1]


async def test_a_response_in_the_background_is_fetched_at_another_gateway(
    victim, language_cluster, local
):
    started, address = victim
    body = {"model": "tiny", "input": "hello", "temperature": 0, "ignore_eos": True}
    body |= {"max_output_tokens": TOKENS, "background": True, "stream": True}
    with _asked_of(address, "POST", "/v1/responses", body) as response:
        before = [json.loads(data) for _, data in _events(response, most=12)]
        started.process.kill()
    id_, last = before[0]["response"]["id"], before[-1]["sequence_number"]
    path = f"/v1/responses/{id_}?stream=true&starting_after={last}"
    with _asked_of(language_cluster.http_url(), "GET", path) as response:
        after = [json.loads(data) for _, data in _events(response)]

    deltas = [one["delta"] for one in before + after if one["type"].endswith("text.delta")]
    prompt = "<|user|>hello<|end|><|assistant|>"
    text = local.answer(prompt, special=False, max_tokens=TOKENS)[1]
    assert "".join(deltas) == after[-4]["text"] == text
    assert after[-1]["type"] == "response.incomplete"
