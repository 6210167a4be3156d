"""Log probabilities as clients read them: of each token, with its bytes and its place."""

import asyncio
import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import tiny_language

from penstock.gateway.fronts.http.openai.asked import chat_of, completion_of
from penstock.gateway.fronts.http.openai.logprobs import logprobs_in, of_chat, of_completion
from penstock.gateway.fronts.http.openai.responses.asked import response_of
from penstock.gateway.requests.language.answer import Prompted, Resumed, joined
from penstock.gateway.requests.language.fields import FieldRefused
from penstock.language.log.likelihoods import entry_of
from penstock.language.log.spelling import Spelling
from penstock.language.options import DecodingOptions
from penstock.language.tokenizer import Tokenizer
from penstock.protos import grpc_service_pb2 as pb

TEXT = "naïve 日本 🙂 hello"
COUNT = 2
TEXTS = ("text_output", "logprobs")


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(tiny_language.tokenizer()[0])


@pytest.fixture(scope="module")
def answer(tokenizer):
    """The log of an answer that says TEXT and ends, and its tokens."""
    tokens, chance = [*tokenizer.encode(TEXT, special=False), 0], np.random.default_rng(1)
    options = DecodingOptions(logprobs=COUNT)
    log = [
        entry_of(token, chance.normal(size=tokenizer.vocabulary).astype(np.float32), options)
        for token in tokens
    ]
    return log, tokens


OUTPUTS = ("text_output", "logprobs")


def _responses(
    tokenizer, log, begin=0, cuts=(), outputs=OUTPUTS, *, prompt=(5,), named=True, **more
):
    served = SimpleNamespace(id=SimpleNamespace(model="tiny", version=1))
    request = pb.ModelInferRequest()
    for name in outputs:
        request.outputs.add(name=name)
    asked = SimpleNamespace(served=served, parts=SimpleNamespace(id="a"), request=request)
    manifest = SimpleNamespace(end_tokens=(0,))
    language = SimpleNamespace(tokenizer=tokenizer, manifest=manifest, spelling=Spelling(tokenizer))
    options = DecodingOptions(**{"seed": 1, "logprobs": COUNT, **more})
    prompted = Prompted(asked, language, options, list(prompt))

    async def entries():
        for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
            if log[start:end]:
                yield np.array(log[start:end], "<u4").tobytes()

    async def conclude():
        raise AssertionError

    async def listen():
        resumed = Resumed(begin, 17, conclude) if named else None
        parts = prompted.parts(entries(), resumed)
        return [part.body async for part in parts if not part.final]

    return asyncio.run(listen())


def _found(bodies):
    return [
        one for body in bodies for one in logprobs_in(pb.ModelInferResponse.FromString(body)) or ()
    ]


@given(st.data(), st.sets(st.sampled_from(["text_output", "output_ids", "logprobs"])))
def test_what_responses_have_in_common_is_put_together_once(tokenizer, answer, data, outputs):
    """An answer that has a name says its place in each; the others' are joined of bytes."""
    log, _ = answer
    cuts = sorted(data.draw(st.sets(st.integers(1, len(log) - 1))))
    named = _responses(tokenizer, log, cuts=cuts, outputs=outputs)
    joined_up = _responses(tokenizer, log, cuts=cuts, outputs=outputs, named=False)
    expected = [pb.ModelInferResponse.FromString(body) for body in named]
    for response in expected:
        del response.parameters["penstock_at"], response.parameters["penstock_began"]

    assert [pb.ModelInferResponse.FromString(body) for body in joined_up] == expected


@given(st.data())
def test_each_token_has_its_own_however_they_come_and_from_wherever(tokenizer, answer, data):
    log, tokens = answer
    whole = _found(_responses(tokenizer, log, cuts=range(1, len(log))))
    begin = data.draw(st.integers(0, len(log) - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=4)))

    assert len(whole) == len(tokens)
    assert _found(_responses(tokenizer, log, begin, cuts)) == whole[begin:]
    bodies = _responses(tokenizer, log, cuts=cuts)
    assert _found([joined(bodies)]) == whole


def test_bytes_make_the_text_and_places_are_those_in_it(tokenizer, answer):
    found = _found(_responses(tokenizer, answer[0]))
    chat = of_chat(found)["content"]
    completion = of_completion(found)

    assert bytes(byte for one in chat[:-1] for byte in one["bytes"]).decode() == TEXT
    assert (chat[-1]["token"], chat[-1]["bytes"]) == ("<|end|>", None)
    assert {len(one["top_logprobs"]) for one in chat} == {COUNT}
    places = completion["text_offset"]
    for one, place in zip(chat[:-1], places, strict=False):
        content = bytes(one["bytes"])
        if content.isascii() or content.decode(errors="ignore"):
            assert TEXT.encode()[len(TEXT[:place].encode()) :].startswith(content)
    assert places == sorted(places)
    assert places[-1] == len(TEXT)
    assert completion["token_logprobs"] == [one["logprob"] for one in chat]
    half = chat[2]
    assert (half["token"], half["bytes"]) == ("\\xc3", [0xC3])
    assert completion["tokens"][2] == "bytes:\\xc3"
    assert all(
        key in top and len(top) in (COUNT, COUNT + 1)
        for key, top in zip(completion["tokens"], completion["top_logprobs"], strict=True)
    )


def test_tritons_clients_have_them_as_its_vllm_backend_says_them(tokenizer, answer):
    bodies = _responses(tokenizer, answer[0], outputs=())
    response = pb.ModelInferResponse.FromString(joined(bodies))
    contents = {
        output.name: raw
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    said = json.loads(contents["logprobs"][4:])

    assert [int(next(iter(one))) for one in said] == answer[1]
    assert np.frombuffer(contents["output_ids"], "<i8").tolist() == answer[1]
    assert {"logprob", "rank", "decoded_token"} <= set(next(iter(said[0].values())))


PROMPT = "hello 日本 in the"


@pytest.fixture(scope="module")
def echoed(tokenizer, answer):
    """The log of an answer that begins with its prompt, and the tokens of both."""
    log, tokens = answer
    prompt, chance = tokenizer.encode(PROMPT, special=False), np.random.default_rng(2)
    options = DecodingOptions(logprobs=COUNT, echo=True)
    before = [
        entry_of(token, chance.normal(size=tokenizer.vocabulary).astype(np.float32), options)
        for token in prompt[1:]
    ]
    return [*before, *log], prompt, tokens


@given(st.data())
def test_a_prompt_that_is_echoed_is_the_beginning_of_the_text(tokenizer, echoed, data):
    """However the log comes, and whoever goes on from wherever."""
    log, prompt, tokens = echoed
    begin = data.draw(st.integers(0, len(log) - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=4)))
    bodies = _responses(tokenizer, log, begin, cuts, prompt=prompt, echo=True)
    whole = _responses(tokenizer, log, prompt=prompt, echo=True)
    found = _found(whole)

    assert len(found) == len(prompt) + len(tokens)
    assert _found(bodies) == (found if begin == 0 else found[begin + 1 :])
    completion = of_completion(found)
    text = PROMPT + TEXT
    assert completion["token_logprobs"][0] is None
    assert completion["top_logprobs"][0] is None
    assert all(completion["top_logprobs"][1:])
    for token, place in zip(completion["tokens"], completion["text_offset"], strict=True):
        assert token.startswith(("bytes:", "<|end|>")) or text[place:].startswith(token)
    last = pb.ModelInferResponse.FromString(bodies[-1]).parameters
    assert last["prompt_tokens"].int64_param == len(prompt)
    assert last["completion_tokens"].int64_param == len(tokens)
    joined_text = joined(whole)
    assert pb.ModelInferResponse.FromString(joined_text).raw_output_contents[0][4:] == text.encode()


def test_without_log_probabilities_the_text_alone_begins_with_it(tokenizer, answer):
    _, tokens = answer
    log = [(token,) for token in tokens]
    more = {"prompt": tokenizer.encode(PROMPT, special=False), "echo": True, "logprobs": None}
    for begin, text in ((0, PROMPT + TEXT), (len(log) - 1, "")):
        bodies = _responses(tokenizer, log, begin, outputs=OUTPUTS[:1], **more)
        found = pb.ModelInferResponse.FromString(joined(bodies))
        assert found.raw_output_contents[0][4:] == text.encode()


CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
TEXTS = {"model": "m", "prompt": "x"}
RESPONSE = {"model": "m", "input": "x"}
INCLUDE = {"include": ["message.output_text.logprobs"]}


@pytest.mark.parametrize(
    ("read", "body", "count"),
    [
        (chat_of, CHAT, None),
        (chat_of, {**CHAT, "logprobs": False, "top_logprobs": 0}, None),
        (chat_of, {**CHAT, "logprobs": True}, 0),
        (chat_of, {**CHAT, "logprobs": True, "top_logprobs": 20}, 20),
        (completion_of, {**TEXTS, "logprobs": None}, None),
        (completion_of, {**TEXTS, "logprobs": 0}, 0),
        (completion_of, {**TEXTS, "logprobs": 5}, 5),
        (response_of, RESPONSE, None),
        (response_of, {**RESPONSE, **INCLUDE}, 0),
        (response_of, {**RESPONSE, **INCLUDE, "top_logprobs": 3}, 3),
    ],
)
def test_as_many_are_asked_for_as_a_body_says(read, body, count):
    assert read(body).options.get("logprobs") == count


@pytest.mark.parametrize(
    ("read", "body", "field"),
    [
        (chat_of, {**CHAT, "logprobs": 1}, "logprobs"),
        (chat_of, {**CHAT, "top_logprobs": 2}, "top_logprobs"),
        (chat_of, {**CHAT, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (chat_of, {**CHAT, "logprobs": True, "top_logprobs": True}, "top_logprobs"),
        (completion_of, {**TEXTS, "logprobs": 6}, "logprobs"),
        (completion_of, {**TEXTS, "logprobs": -1}, "logprobs"),
        (completion_of, {**TEXTS, "logprobs": True}, "logprobs"),
        (completion_of, {**TEXTS, "top_logprobs": 2}, "top_logprobs"),
        (response_of, {**RESPONSE, "top_logprobs": 2}, "top_logprobs"),
        (response_of, {**RESPONSE, "include": ["file_search_call.results"]}, "include"),
        (response_of, {**RESPONSE, "include": "x"}, "include"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(read, body, field):
    with pytest.raises(FieldRefused) as refused:
        read(body)

    assert refused.value.field == field
