"""Structured answers on a cluster: what they must be, and the same whatever happens."""

import json
import os
import signal

import jsonschema
import pytest
from support.clients.answers import ask, chunks
from support.clients.load import eventually
from support.language.schemas import PERSON

FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "person", "schema": PERSON, "strict": True},
}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "temperature": 1.2}
CHAT_TEXT = "<|user|>hello<|end|><|assistant|>"
LONG = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 50}


def expected(local, structured, seed):
    """Tokens and text, as this process makes them."""
    options = {"temperature": 1.2, "seed": seed, "structured_outputs": structured}
    return local.answer(CHAT_TEXT, special=False, ignore_end=False, **options)


def test_a_chat_answers_as_its_schema_says_whole_and_streamed(language_cluster, local):
    body = {**CHAT, "response_format": FORMAT, "n": 3, "seed": 8}
    status, content = ask(language_cluster, "chat/completions", body)
    _, streamed = ask(language_cluster, "chat/completions", {**body, "stream": True})
    choices = json.loads(content)["choices"]
    texts, ends = [""] * 3, set()
    for event in chunks(streamed):
        for choice in event["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
            ends.add(choice["finish_reason"])

    assert status == 200
    assert [choice["message"]["content"] for choice in choices] == texts
    assert {choice["finish_reason"] for choice in choices} | {None} == ends == {None, "stop"}
    assert texts == [expected(local, {"json": PERSON}, seed)[1] for seed in (8, 9, 10)]
    for text in texts:
        jsonschema.validate(json.loads(text), PERSON)


@pytest.mark.parametrize(
    "body",
    [
        {"guided_regex": "[ab]{5}"},
        {"structured_outputs": {"choice": ["aabba"]}},
        {"guided_grammar": 'start: x{5}\nx: "a" | "b"'},
    ],
)
def test_completions_take_vllms_fields(body, language_cluster):
    asked = {"model": "tiny", "prompt": "hello", **body}
    _, content = ask(language_cluster, "completions", asked)
    (choice,) = json.loads(content)["choices"]

    assert (len(choice["text"]), set(choice["text"]) <= set("ab")) == (5, True)
    assert choice["finish_reason"] == "stop"


def test_a_response_has_its_format(language_cluster):
    said = {"format": {"type": "json_schema", "name": "x", "schema": PERSON, "strict": True}}
    body = {"model": "tiny", "input": "hello", "text": said}
    _, content = ask(language_cluster, "responses", body)
    answer = json.loads(content)

    assert (answer["status"], answer["text"]) == ("completed", said)
    jsonschema.validate(json.loads(answer["output"][0]["content"][0]["text"]), PERSON)


async def test_a_worker_that_dies_changes_no_byte_of_a_structured_answer(
    answers, language_cluster, local
):
    def asked(seed):
        sampling = {"temperature": 1.2, "seed": seed, "structured_outputs": {"json": LONG}}
        tokens = local.tokenizer.encode(CHAT_TEXT, special=False)
        return answers.ask("tiny", tokens, json.dumps(sampling))

    def workers():
        return set(language_cluster.processes()["worker"])

    def ready():
        return ask(language_cluster, "/v2/models/tiny/ready")[0] == 200

    assert await eventually(lambda: len(workers()) == 2 and ready())
    victim = workers().pop()
    found = [asked(seed) for seed in range(12)]
    answers.until(lambda: sum(len(answer.tokens) > 20 for answer in found) >= 4)
    os.kill(victim, signal.SIGKILL)
    under_way = sum(not answer.ended for answer in found)
    answers.ended(found)

    assert under_way > 0
    for seed, answer in enumerate(found):
        assert answer.error == ""
        assert (answer.tokens, answer.text) == expected(local, {"json": LONG}, seed)
        jsonschema.validate(json.loads(answer.text), LONG)
    assert await eventually(lambda: len(workers()) == 2 and ready())


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"guided_regex": "(a"}, "guided_regex", "the regular expression cannot be used"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
            "response_format",
            "Invalid type: x",
        ),
        (
            {"structured_outputs": {"json": {"not": {}}}},
            "structured_outputs",
            'Unimplemented keys: ["not"]',
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_structure_that_cannot_be_is_refused_before_all_else(
    stream, body, param, message, language_cluster
):
    asked = {**CHAT, **body, "stream": stream}
    status, content = ask(language_cluster, "chat/completions", asked)
    error = json.loads(content)["error"]

    assert (status, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert message in error["message"]


def test_an_answer_that_cannot_go_on_says_so(answers, language_cluster):
    """The bounds are met behind what was tried when it was accepted."""
    grammar = 'start: /[ab]{30}/ x\nx: ("b" "c"){100000}'
    structured = json.dumps({"grammar": grammar})
    (found,) = answers.ended([answers.ask("tiny", "hello", structured_outputs=structured)])
    body = {"model": "tiny", "prompt": "hello", "guided_grammar": grammar}
    status, content = ask(language_cluster, "completions", body)

    assert "the answer cannot go on" in found.error
    assert (status, "the answer cannot go on" in content.decode()) == (400, True)
