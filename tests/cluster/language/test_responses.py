"""The Responses API: an answer at once, as it comes, and fetched while it goes on."""

import json
import urllib.error
import urllib.request

import pytest
from support.clients.load import eventually

BODY = {
    "model": "tiny",
    "input": "hello",
    "temperature": 0,
    "max_output_tokens": 60,
    "ignore_eos": True,
}
CHAT_TEXT = "<|user|>hello<|end|><|assistant|>"


def ask(language_cluster, path="", body=None):
    """The status, and the body as it came."""
    url = f"http://{language_cluster.http_url()}/v1/responses{path}"
    content = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, content)) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def events(content):
    """The events of a stream, which name their types twice."""
    found = []
    for one in content.split("\n\n"):
        lines = [line for line in one.split("\n") if line and not line.startswith(":")]
        if lines:
            kind, data = lines
            found.append(json.loads(data.removeprefix("data: ")))
            assert kind == f"event: {found[-1]['type']}"
    return found


def text_of(found):
    return "".join(one["delta"] for one in found if one["type"] == "response.output_text.delta")


@pytest.fixture
def text(local):
    return local.answer(CHAT_TEXT, special=False, max_tokens=60)[1]


def test_log_probabilities_come_where_they_are_included(language_cluster):
    body = {**BODY, "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    _, content = ask(language_cluster, body=body)
    _, streamed = ask(language_cluster, body={**body, "stream": True, "background": True})
    found = events(streamed)
    _, fetched = ask(language_cluster, f"/{found[0]['response']['id']}")

    ((part,),) = [one["content"] for one in json.loads(content)["output"]]
    deltas = [one["logprobs"] for one in found if one["type"] == "response.output_text.delta"]
    assert [len(one["top_logprobs"]) for one in part["logprobs"]] == [2] * 60
    assert [one for some in deltas for one in some] == part["logprobs"]
    assert json.loads(fetched)["output"][0]["content"] == [part]


def test_an_answer_has_one_message(language_cluster, text):
    status, content = ask(language_cluster, body=BODY)
    response = json.loads(content)

    assert status == 200
    assert (response["object"], response["status"]) == ("response", "incomplete")
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    (message,) = response["output"]
    assert message["content"][0]["text"] == text
    assert response["usage"]["output_tokens"] == 60
    # The official client's own type has both.
    assert set(response["usage"]["input_tokens_details"]) == {"cached_tokens", "cache_write_tokens"}
    assert response["max_output_tokens"] == 60


def test_instructions_and_messages_are_a_conversation(language_cluster, local):
    said = [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]
    _, content = ask(language_cluster, body={**BODY, "input": said, "instructions": "be kind"})

    before = f"<|system|>be kind<|end|>{CHAT_TEXT}"
    expected = local.answer(before, special=False, max_tokens=60)[1]
    assert json.loads(content)["output"][0]["content"][0]["text"] == expected


def test_a_stream_numbers_its_events(language_cluster, text):
    _, content = ask(language_cluster, body={**BODY, "stream": True})
    found = events(content)
    numbers = [one["sequence_number"] for one in found]

    assert numbers == sorted(set(numbers))
    assert [one["type"] for one in found[:4]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert [one["type"] for one in found[-4:]] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert text_of(found) == found[-4]["text"] == text
    assert found[-1]["response"]["usage"]["output_tokens"] == 60


async def test_an_answer_in_the_background_is_fetched(language_cluster, text):
    status, content = ask(language_cluster, body={**BODY, "background": True})
    begun = json.loads(content)

    def fetched():
        _, found = ask(language_cluster, f"/{begun['id']}")
        found = json.loads(found)
        return found if found["status"] == "incomplete" else None

    whole = await eventually(fetched)
    assert (status, begun["status"], begun["background"]) == (200, "in_progress", True)
    assert whole["output"][0]["content"][0]["text"] == text
    assert whole["id"] == begun["id"]


def test_its_stream_goes_on_behind_any_event(language_cluster, text):
    _, content = ask(language_cluster, body={**BODY, "background": True, "stream": True})
    whole = events(content)
    id_ = whole[0]["response"]["id"]
    for at in (0, 3, len(whole) // 2, len(whole) - 5, len(whole) - 2):
        number = whole[at]["sequence_number"]
        _, rest = ask(language_cluster, f"/{id_}?stream=true&starting_after={number}")
        rest = events(rest)

        assert text_of(whole[: at + 1]) + text_of(rest) == text
        assert rest[0]["sequence_number"] > number
        assert rest[-1]["response"]["output"] == whole[-1]["response"]["output"]
        assert rest[-1]["sequence_number"] == whole[-1]["sequence_number"]


def test_what_was_asked_is_listed_some_at_a_time(language_cluster):
    call = {"type": "function_call", "call_id": "c1", "name": "now", "arguments": "{}"}
    brought = {"type": "function_call_output", "call_id": "c1", "output": "noon"}
    said = [{"role": "user", "content": "hello"}, call, brought]
    _, content = ask(language_cluster, body={**BODY, "background": True, "input": said})
    path = f"/{json.loads(content)['id']}/input_items"
    _, whole = ask(language_cluster, path)
    _, first = ask(language_cluster, f"{path}?limit=2&order=asc")
    first = json.loads(first)
    _, rest = ask(language_cluster, f"{path}?order=asc&after={first['last_id']}")
    status, refused = ask(language_cluster, f"{path}?limit=0")

    kinds = [one["type"] for one in json.loads(whole)["data"]]
    assert kinds == ["function_call_output", "function_call", "message"]
    assert [one["type"] for one in first["data"]] == ["message", "function_call"]
    assert [first["has_more"], json.loads(rest)["has_more"]] == [True, False]
    assert first["data"] + json.loads(rest)["data"] == json.loads(whole)["data"][::-1]
    assert (status, json.loads(refused)["error"]["param"]) == (400, "limit")


@pytest.mark.parametrize(
    ("body", "message", "field"),
    [
        ({**BODY, "tools": [{}]}, "tools[0] must be of type 'function'", "tools"),
        ({**BODY, "input": []}, "input must be a text", "input"),
        ({**BODY, "input": [{"type": "file"}]}, "items of type message, function_call", "input"),
        ({**BODY, "max_output_tokens": 0}, "max_output_tokens must be", "max_output_tokens"),
        ({**BODY, "previous_response_id": "x"}, "is not offered", "previous_response_id"),
        ({**BODY, "messages": []}, "unknown field 'messages'", "messages"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(body, message, field, language_cluster):
    status, content = ask(language_cluster, body=body)
    error = json.loads(content)["error"]

    assert (status, error["param"]) == (400, field)
    assert message in error["message"]


@pytest.mark.parametrize("id_", ["resp_00", "resp_00_dGlueQ"])
def test_what_is_not_kept_is_not_there(id_, language_cluster):
    for path in ("", "/input_items"):
        status, content = ask(language_cluster, f"/{id_}{path}")

        assert (status, json.loads(content)["error"]["code"]) == (404, "not_found")
