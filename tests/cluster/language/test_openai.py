"""The OpenAI API: the answers of one process, in the forms that its clients read."""

import http.client
import json

import numpy as np
import pytest
from support.clients.answers import ask, chunks
from support.clients.load import eventually
from support.models import tiny_language
from support.models.language_versions import SHAPE
from support.models.reference_decoder import reference_of

GREEDY = {"temperature": 0, "max_tokens": 30, "ignore_eos": True}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], **GREEDY}
PLAIN = {"model": "tiny", "prompt": "hello", **GREEDY}


def expected(local, text, *, special=False, **options):
    return local.answer(text, special=special, max_tokens=30, **options)[1]


CHAT_TEXT = "<|user|>hello<|end|><|assistant|>"


def test_a_chat_is_answered_through_the_models_template(language_cluster, local):
    status, content = ask(language_cluster, "chat/completions", CHAT)
    answer = json.loads(content)

    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": expected(local, CHAT_TEXT),
                "refusal": None,
                "annotations": [],
            },
            "finish_reason": "length",
            "logprobs": None,
        }
    ]
    usage = answer["usage"]
    assert 0 <= usage.pop("prompt_tokens_details")["cached_tokens"] <= 3
    assert usage == {"prompt_tokens": 4, "completion_tokens": 30, "total_tokens": 34}


def test_a_stream_says_the_same_piece_by_piece(language_cluster, local):
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    _, content = ask(language_cluster, "chat/completions", body)
    *events, last, usage = chunks(content)

    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta["content"] for delta in deltas[1:]) == expected(local, CHAT_TEXT)
    assert last["choices"][0] == {
        "index": 0,
        "delta": {},
        "finish_reason": "length",
        "logprobs": None,
    }
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 30)
    assert len({event["id"] for event in (*events, last, usage)}) == 1
    assert {event["usage"] for event in (*events, last)} == {None}


def test_several_prompts_and_choices_are_answered_together(language_cluster, local):
    body = {**PLAIN, "prompt": ["hello", "a"], "n": 2, "temperature": 3, "seed": 5}
    _, content = ask(language_cluster, "completions", body)
    choices = json.loads(content)["choices"]
    _, streamed = ask(language_cluster, "completions", {**body, "stream": True})
    texts = [""] * 4
    for event in chunks(streamed):
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]

    assert [choice["text"] for choice in choices] == texts
    assert texts == [
        expected(local, prompt, special=True, temperature=3, seed=seed)
        for prompt in ("hello", "a")
        for seed in (5, 6)
    ]


def test_tokens_are_a_prompt_as_well(language_cluster, local):
    tokens = local.tokenizer.encode("hello", special=True)
    _, one = ask(language_cluster, "completions", PLAIN)
    _, other = ask(language_cluster, "completions", {**PLAIN, "prompt": tokens})

    assert json.loads(one)["choices"] == json.loads(other)["choices"]


def test_log_probabilities_are_those_of_the_plain_model_whole_or_streamed(language_cluster, local):
    """Of what is drawn too, before temperature and penalties; for each of several answers."""
    more = {"temperature": 1.4, "seed": 5, "presence_penalty": 0.5, "n": 2}
    body = {**PLAIN, **more, "logprobs": 2}
    _, content = ask(language_cluster, "completions", body)
    choices = json.loads(content)["choices"]
    _, streamed = ask(language_cluster, "completions", {**body, "stream": True})
    events = [choice for event in chunks(streamed) for choice in event["choices"]]

    weights = tiny_language.weights(SHAPE)
    reference = reference_of(SHAPE, weights)
    prompt = local.tokenizer.encode("hello", special=True)
    for choice, seed in zip(choices, (5, 6), strict=True):
        drawn = {**more, "seed": seed}
        del drawn["n"]
        answer, text = local.answer("hello", max_tokens=30, **drawn)
        logits = reference.step([None] * SHAPE.layers, [*prompt, *answer[:-1]], 0)
        logits = logits[len(prompt) - 1 :].astype(float)
        plain = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        logprobs = choice["logprobs"]
        assert choice["text"] == text
        expected = [row[token] for row, token in zip(plain, answer, strict=True)]
        assert logprobs["token_logprobs"] == pytest.approx(expected, abs=1e-3)
        best = [max(one.values()) for one in logprobs["top_logprobs"]]
        assert best == pytest.approx(plain.max(-1), abs=1e-3)
        of_it = [one["logprobs"] for one in events if one["index"] == choice["index"]]
        for name, whole in logprobs.items():
            assert [value for one in of_it if one for value in one[name]] == whole


def test_a_chats_log_probabilities_have_bytes_of_each_token(language_cluster, local):
    body = {**CHAT, "logprobs": True, "top_logprobs": 3}
    _, content = ask(language_cluster, "chat/completions", body)
    (choice,) = json.loads(content)["choices"]
    _, streamed = ask(language_cluster, "chat/completions", {**body, "stream": True})

    found = choice["logprobs"]["content"]
    assert choice["message"]["content"] == expected(local, CHAT_TEXT)
    assert len(found) == 30
    assert [one["top_logprobs"][0]["token"] for one in found] == [one["token"] for one in found]
    content = bytes(byte for one in found for byte in one["bytes"] or ())
    assert content.decode(errors="replace") == expected(local, CHAT_TEXT)
    deltas = [choice for event in chunks(streamed) for choice in event["choices"]]
    of_all = [one["logprobs"]["content"] for one in deltas if one["logprobs"]]
    assert [one for some in of_all for one in some] == found


def test_what_was_read_before_is_not_read_again_and_changes_nothing(language_cluster, local):
    """Of two workers each has what it read; one of them has two of these texts at least."""
    cached = []
    for n in range(5):
        text = "the hell in the world" + " hello" * n
        _, content = ask(language_cluster, "completions", {**PLAIN, "prompt": text})
        answer = json.loads(content)
        assert answer["choices"][0]["text"] == expected(local, text, special=True)
        cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])

    assert max(cached) >= len(local.tokenizer.encode("the hell in the world", special=True))


def test_models_are_listed(language_cluster):
    status, content = ask(language_cluster, "models")

    (listed,) = json.loads(content)["data"]
    one, other = (ask(language_cluster, f"models/{name}") for name in ("tiny", "none"))

    assert (status, listed["id"]) == (200, "tiny")
    assert (one[0], json.loads(one[1])) == (200, listed)
    assert (other[0], json.loads(other[1])["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("chat/completions", {**CHAT, "model": "none"}, 404, "'none'"),
        ("chat/completions", {**CHAT, "temprature": 1}, 400, "unknown field 'temprature'"),
        ("chat/completions", {**CHAT, "audio": {}}, 400, "'audio' is not offered yet"),
        ("chat/completions", {**CHAT, "temperature": -1}, 400, "temperature must be a number"),
        ("chat/completions", {**CHAT, "stream": True, "top_p": 7}, 400, "top_p must be a number"),
        ("chat/completions", {**CHAT, "top_logprobs": 21, "logprobs": True}, 400, "top_logprobs"),
        ("completions", {**PLAIN, "logprobs": 6}, 400, "logprobs must be an integer from 0 to 5"),
        ("completions", {**PLAIN, "prompt": "x" * 500}, 400, "the prompt has 500 tokens"),
        ("completions", [], 400, ""),
        ("nothing", {}, 404, "Not Found: of the OpenAI API there are /v1/audio/transcriptions, "),
        ("models", {}, 405, "this path takes GET"),
    ],
)
def test_what_cannot_be_is_refused_in_openais_form(path, body, status, message, language_cluster):
    found, content = ask(language_cluster, path, body)
    error = json.loads(content)["error"]

    assert found == status
    assert message in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_a_prompt_for_which_there_is_no_room_has_openais_code(language_cluster):
    _, content = ask(language_cluster, "completions", {**PLAIN, "prompt": "x" * 500})

    assert json.loads(content)["error"]["code"] == "context_length_exceeded"


async def test_a_client_that_leaves_frees_its_slots_streaming_or_not(language_cluster, local):
    """Sixteen answers are given up; sixteen others come."""
    for stream in (True, False):
        body = {**PLAIN, "n": 16, "max_tokens": 240, "stream": stream}
        host, _, port = language_cluster.http_url().partition(":")
        connection = http.client.HTTPConnection(host, int(port))
        connection.request("POST", "/v1/completions", json.dumps(body))
        if stream:
            connection.getresponse().read(200)
        connection.close()

    def answered():
        status, content = ask(language_cluster, "completions", {**PLAIN, "n": 16})
        return status == 200 and json.loads(content)["choices"]

    choices = await eventually(answered)
    assert {choice["text"] for choice in choices} == {expected(local, "hello", special=True)}


def test_tokens_of_texts_and_of_messages_and_back(language_cluster, local):

    _, plain = ask(language_cluster, "/tokenize", {"model": "tiny", "prompt": "hello é"})
    body = {"model": "tiny", "messages": CHAT["messages"], "return_token_strs": True}
    _, chat = ask(language_cluster, "/tokenize", body)
    tokens = json.loads(plain)["tokens"]
    _, back = ask(language_cluster, "/detokenize", {"model": "tiny", "tokens": tokens})
    status, refused = ask(language_cluster, "/tokenize", {"model": "tiny"})

    assert tokens == local.tokenizer.encode("hello é", special=True)
    assert json.loads(plain) | {"tokens": []} == {
        "count": len(tokens),
        "max_model_len": 256,
        "tokens": [],
        "token_strs": None,
    }
    assert json.loads(chat)["token_strs"] == ["<|user|>", "hello", "<|end|>", "<|assistant|>"]
    assert json.loads(back) == {"prompt": "hello é"}
    assert (status, json.loads(refused)["error"]["param"]) == (400, "prompt")
