"""What the bodies of the OpenAI API's requests may ask for, and how what they cannot is said."""

import json

import pytest

from penstock.errors import InvalidRequest, ModelNotFound
from penstock.gateway.fronts.http.openai import shapes
from penstock.gateway.fronts.http.openai.asked import chat_of, completion_of
from penstock.gateway.fronts.http.openai.responses.asked import response_of
from penstock.gateway.fronts.http.openai.shapes import Choice, Envelope
from penstock.gateway.requests.language.fields import FieldRefused

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
PLAIN = {"model": "m", "prompt": "hello"}
RESPONSE = {"model": "m", "input": "hello"}


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ("", [""]),
    ],
)
def test_prompts_are_texts_or_tokens_one_or_several(prompt, prompts):
    assert completion_of({**PLAIN, "prompt": prompt}).prompts == prompts


def test_parts_of_a_message_are_one_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = chat_of({**HELLO, "messages": [{"role": "user", "content": parts, "name": "x"}]})

    assert asked.prompts == [[{"role": "user", "content": "ab", "name": "x"}]]


def test_options_have_the_names_of_this_house():
    given = {"max_completion_tokens": 5, "stop_token_ids": [1], "ignore_eos": True, "seed": -1}
    asked = chat_of({**HELLO, **given, "temperature": None})

    assert asked.options == {
        "max_tokens": 5,
        "stop_tokens": [1],
        "ignore_end": True,
        "seed": 2**64 - 1,
    }


@pytest.mark.parametrize(
    "neutral",
    [
        {"logprobs": False, "top_logprobs": None, "tools": [], "tool_choice": "none"},
        {"response_format": {"type": "text"}, "user": "me", "store": True, "metadata": {"a": "b"}},
        {"best_of": 1, "echo": False, "suffix": None},
        {"prompt_cache_key": "a", "prompt_cache_options": {"mode": "explicit", "ttl": "30m"}},
        {"stream": True, "stream_options": {"include_obfuscation": False, "include_usage": None}},
    ],
)
def test_what_asks_for_nothing_is_taken(neutral):
    assert chat_of({**HELLO, **neutral}).options == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({**PLAIN, "tools": [{}]}, "'tools' is not offered yet"),
        ({**HELLO, "temprature": 1}, "unknown field 'temprature'"),
        ({**HELLO, "prompt": "x"}, "unknown field 'prompt'"),
        ({**HELLO, "messages": []}, "messages must be a list"),
        ({**HELLO, "messages": ["a"]}, "an object with a role and a content"),
        ({**HELLO, "messages": [{"role": "user"}]}, "the content of each message"),
        (
            {**HELLO, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "parts of type 'text' alone",
        ),
        ({**HELLO, "n": 65}, "at most 64 answers"),
        ({**HELLO, "n": 0}, "n must be from 1"),
        ({**HELLO, "n": True}, "n must be from 1"),
        ({**HELLO, "stream": 1}, "stream must be true or false"),
        ({**HELLO, "stream_options": {"include_usage": True}}, "set stream to true"),
        ({**HELLO, "stream_options": {"other": 1}, "stream": True}, "include_usage alone"),
        (
            {**HELLO, "stream_options": {"include_obfuscation": True}, "stream": True},
            "'stream_options.include_obfuscation' is not offered",
        ),
        ({**HELLO, "moderation": {"model": "m"}}, "'moderation' is not offered yet"),
        ({**HELLO, "model": 5}, "model must be the name"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(body, message):
    read = chat_of if "messages" in body else completion_of
    with pytest.raises(InvalidRequest, match=message):
        read(body)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("temperature", -1, "temperature must be a number"),
        ("max_completion_tokens", 0, "max_completion_tokens must be an integer from 1"),
        ("max_tokens", "3", "max_tokens must be an integer"),
        ("stop_token_ids", [-1], "stop_token_ids must be an integer"),
        ("ignore_eos", 1, "ignore_eos must be true or false"),
        ("seed", -(1 << 63) - 1, "seed must be an integer"),
        ("stop", [""], "stop must be texts of 1"),
        ("n", 0, "n must be from 1"),
        ("tools", [{}], r"tools\[0\] must be of type"),
        ("audio", {}, "'audio' is not offered"),
        ("temprature", 1, "unknown field"),
    ],
)
def test_a_refusal_names_the_field_as_its_client_wrote_it(field, value, message):
    with pytest.raises(FieldRefused, match=message) as caught:
        chat_of({**HELLO, field: value})

    assert json.loads(shapes.error(400, "no", caught.value))["error"]["param"] == field


def test_a_response_takes_what_changes_nothing_of_it():
    neutral = {"prompt_cache_options": {"ttl": "30m"}, "stream_options": {}, "truncation": None}

    assert response_of({**RESPONSE, **neutral}).options == {}


@pytest.mark.parametrize(
    "field",
    [
        *("access_programs", "background_options", "context_management", "conversation", "image"),
        *("moderation", "max_tool_calls"),
    ],
)
def test_a_response_refuses_by_name_what_would_change_it(field):
    with pytest.raises(FieldRefused, match=f"'{field}' is not offered yet"):
        response_of({**RESPONSE, field: {"a": "b"}})


def test_developers_speak_as_the_system():
    asked = chat_of({**HELLO, "messages": [{"role": "developer", "content": "be kind"}]})

    assert asked.prompts == [[{"role": "system", "content": "be kind"}]]


@pytest.mark.parametrize("prompt", [None, 5, [], [1, "a"], [[]], [1.5], {"a": 1}, [True]])
def test_a_prompt_that_is_none_is_refused(prompt):
    with pytest.raises(InvalidRequest, match="prompt must be"):
        completion_of({**PLAIN, "prompt": prompt})


def test_each_prompt_counts_once_however_many_choices_it_has():
    choices = [Choice("a", "stop", asked, 2) for asked in (5, 5, 7, 7)]

    assert shapes.usage(choices, prompts=2) == {
        "prompt_tokens": 12,
        "completion_tokens": 8,
        "total_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_a_chat_streams_a_role_then_pieces_then_the_end():
    envelope = Envelope("id", 1, "m", chat=True)
    events = envelope.begins(0) + envelope.goes_on(0, "é") + envelope.ends(0, "stop")
    choices = [json.loads(line[6:])["choices"][0] for line in events.split(b"\n\n") if line]

    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "é"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]


def test_errors_have_the_form_that_the_official_client_reads():
    body = json.loads(shapes.error(404, "no such model", ModelNotFound("no")))

    assert body == {
        "error": {
            "message": "no such model",
            "type": "invalid_request_error",
            "param": None,
            "code": "model_not_found",
        }
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, "invalid_request_error") for status in (400, 404, 405, 409, 413, 415, 501)),
        (401, "authentication_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (504, "server_error"),
    ],
)
def test_what_a_request_has_wrong_is_no_error_of_the_server(status, kind):
    body = json.loads(shapes.error(status, "x", ModelNotFound("no")))

    assert body["error"]["type"] == kind


SCHEMA = {"type": "object", "properties": {"b": {}, "a": {}}}


@pytest.mark.parametrize(
    ("given", "field", "option"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            "response_format",
            {"json": json.dumps(SCHEMA), "lenient": True},
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": SCHEMA, "strict": True},
                }
            },
            "response_format",
            {"json": json.dumps({**SCHEMA, "additionalProperties": False})},
        ),
        (
            {"response_format": {"type": "json_object"}},
            "response_format",
            {"json": '{"type": "object"}'},
        ),
        ({"structured_outputs": {"regex": "a+"}}, "structured_outputs", {"regex": "a+"}),
        ({"guided_json": SCHEMA}, "guided_json", {"json": json.dumps(SCHEMA)}),
        ({"guided_regex": "a"}, "guided_regex", {"regex": "a"}),
        ({"guided_grammar": "start: /a/"}, "guided_grammar", {"grammar": "start: /a/"}),
        (
            {"guided_choice": ["a", "b"], "response_format": {"type": "text"}},
            "guided_choice",
            {"grammar": 'start: "a" | "b"'},
        ),
    ],
)
def test_a_structure_is_asked_for_as_openais_and_vllms_clients_do(given, field, option):
    for asked in (chat_of({**HELLO, **given}), completion_of({**PLAIN, **given})):
        assert asked.options == {"structured_outputs": option}
        assert asked.structure.field == field


@pytest.mark.parametrize(
    ("given", "field", "message"),
    [
        ({"response_format": {"type": "xml"}}, "response_format", "text, json_object, json_schema"),
        ({"response_format": "json"}, "response_format", "must have a type"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "as 'schema'"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": "a"}}},
            "response_format",
            "as 'schema'",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {}, "strict": 1},
                }
            },
            "response_format",
            "strict of response_format must be",
        ),
        ({"guided_regex": 7}, "guided_regex", "must be a text"),
        ({"guided_choice": []}, "guided_choice", "must be a list of 1"),
        ({"structured_outputs": {"regexp": "a"}}, "structured_outputs", "with one of json"),
        ({"guided_json": {}, "guided_regex": "a"}, "guided_regex", "cannot be together"),
        ({"guided_regex": "a", "ignore_eos": True}, "ignore_eos", "together with guided_regex"),
    ],
)
def test_a_structure_that_is_none_is_refused_by_its_field(given, field, message):
    with pytest.raises(FieldRefused, match=message) as refused:
        chat_of({**HELLO, **given})

    assert refused.value.field == field
