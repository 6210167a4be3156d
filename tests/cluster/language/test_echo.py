"""Prompts that are told of: `echo` over /v1/completions, as those who measure models ask for it."""

import json

import numpy as np
import pytest
from support.clients.answers import ask, chunks
from support.models import tiny_language
from support.models.language_versions import SHAPE
from support.models.reference_decoder import reference_of

PROMPT = "the world in the hell, naïve"
BODY = {
    "model": "tiny",
    "prompt": PROMPT,
    "temperature": 0,
    "max_tokens": 5,
    "ignore_eos": True,
    "logprobs": 2,
    "echo": True,
}


def choices(cluster, **fields):
    status, content = ask(cluster, "completions", {**BODY, **fields})
    assert status == 200, content
    return json.loads(content)


@pytest.fixture(scope="module")
def plain():
    """Tokens -> log probabilities float[tokens - 1, vocabulary] of what follows each."""
    reference = reference_of(SHAPE, tiny_language.weights(SHAPE))

    def of(tokens):
        logits = reference.step([None] * SHAPE.layers, tokens[:-1], 0).astype(float)
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    return of


def test_a_prompts_log_probabilities_are_those_of_the_plain_model(language_cluster, local, plain):
    body = choices(language_cluster)
    (choice,) = body["choices"]
    said = choice["logprobs"]
    prompt = local.tokenizer.encode(PROMPT, special=True)
    answer, text = local.answer(PROMPT, max_tokens=5)

    rows = plain([*prompt, *answer])
    expected = [row[token] for row, token in zip(rows, [*prompt[1:], *answer], strict=True)]
    assert choice["text"] == PROMPT + text
    assert body["usage"]["prompt_tokens"] == len(prompt)
    assert body["usage"]["completion_tokens"] == 5
    assert (said["token_logprobs"][0], said["top_logprobs"][0]) == (None, None)
    assert said["token_logprobs"][1:] == pytest.approx(expected, abs=1e-3)
    best = [max(top.values()) for top in said["top_logprobs"][1:]]
    assert best == pytest.approx(rows.max(-1), abs=1e-3)
    for token, place in zip(said["tokens"], said["text_offset"], strict=True):
        assert token.startswith("bytes:") or choice["text"][place:].startswith(token)


def test_streamed_in_tokens_and_beside_others_it_is_the_same(language_cluster, local):
    (expected,) = choices(language_cluster)["choices"]
    tokens = local.tokenizer.encode(PROMPT, special=True)
    others = [tokens, tokens[:3], tokens * 8]
    found = choices(language_cluster, prompt=others)["choices"]
    _, streamed = ask(language_cluster, "completions", {**BODY, "stream": True})
    events = [choice for event in chunks(streamed) for choice in event["choices"]]

    assert found[0] == expected
    assert [len(one["logprobs"]["tokens"]) for one in found] == [
        len(tokens) + 5 for tokens in others
    ]
    assert "".join(event["text"] for event in events) == expected["text"]
    for name, whole in expected["logprobs"].items():
        pieces = [event["logprobs"][name] for event in events if event["logprobs"]]
        assert [value for piece in pieces for value in piece] == whole


def test_without_log_probabilities_the_text_alone_is_echoed(language_cluster, local):
    (choice,) = choices(language_cluster, logprobs=None)["choices"]

    assert choice["text"] == PROMPT + local.answer(PROMPT, max_tokens=5)[1]
    assert choice["logprobs"] is None


def test_a_stream_goes_on_behind_any_event_of_the_prompt(language_cluster):
    body, named = {**BODY, "stream": True}, {"Penstock-Resume": "echo"}
    _, content = ask(language_cluster, "completions", body, named)
    events = content.decode().split("\n\n")[:-2]
    whole = [json.loads(event.rpartition("data: ")[2])["choices"][0]["text"] for event in events]
    for at in range(len(events) - 1):
        id_ = events[at].partition("id: ")[2].partition("\n")[0]
        _, rest = ask(language_cluster, "completions", body, {"Last-Event-ID": id_})
        rest = rest.decode().split("\n\n")[:-2]
        more = [json.loads(one.rpartition("data: ")[2])["choices"][0]["text"] for one in rest]
        assert "".join([*whole[: at + 1], *more]) == "".join(whole)


def test_a_chat_has_no_echo(language_cluster):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "echo": True}
    status, content = ask(language_cluster, "chat/completions", body)

    assert (status, json.loads(content)["error"]["param"]) == (400, "echo")
