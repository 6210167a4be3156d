"""The Responses API with functions, and what is done with an answer: counted, cancelled, ended."""

import json
import time
import urllib.error
import urllib.request

import jsonschema
import pytest
from support.clients.answers import ask
from support.clients.load import eventually
from support.language.schemas import SCHEMAS

TOOLS = [
    {"type": "function", "name": name, "parameters": schema, "strict": True}
    for name, schema in SCHEMAS.items()
]
BODY = {"model": "tiny", "input": "a", "temperature": 1.1, "max_output_tokens": 150, "seed": 4}
CALLING = {**BODY, "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}


def answered(cluster, body, path=""):
    status, content = ask(cluster, f"responses{path}", body)
    assert status == 200, content
    return json.loads(content)


def events_of(content):
    found = []
    for one in content.decode().split("\n\n"):
        lines = [line for line in one.split("\n") if line and not line.startswith(":")]
        if lines:
            found.append(json.loads(lines[-1].removeprefix("data: ")))
    return found


def post(cluster, path):
    """The status and the body of a POST without one."""
    url = f"http://{cluster.http_url()}/v1/responses/{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST")) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def bare(output):
    """Items without their ids, which follow from the answer's."""
    return [{k: v for k, v in item.items() if k not in ("id", "call_id")} for item in output]


@pytest.mark.parametrize(
    ("choice", "names"),
    [("required", set(SCHEMAS)), ({"type": "function", "name": "weather"}, {"weather"})],
    ids=["required", "named"],
)
def test_calls_are_the_same_whole_and_streamed(choice, names, language_cluster):
    body = {**CALLING, "tool_choice": choice}
    whole = answered(language_cluster, body)
    _, content = ask(language_cluster, "responses", {**body, "stream": True})
    events = events_of(content)

    (call,) = whole["output"]
    jsonschema.validate(json.loads(call["arguments"]), SCHEMAS[call["name"]])
    assert call["name"] in names
    assert (whole["status"], call["status"], call["type"]) == ("completed", *_CALL)
    assert abs(whole["completed_at"] - time.time()) < 600
    assert [tool["name"] for tool in whole["tools"]] == list(SCHEMAS)
    deltas = [
        event["delta"]
        for event in events
        if event["type"] == "response.function_call_arguments.delta"
    ]
    assert "".join(deltas) == call["arguments"]
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[:3] == ["created", "in_progress", "output_item.added"]
    assert kinds[-3:] == ["function_call_arguments.done", "output_item.done", "completed"]
    assert bare(events[-1]["response"]["output"]) == bare(whole["output"])


_CALL = "completed", "function_call"


def test_a_stream_with_calls_goes_on_behind_any_event(language_cluster):
    body = {**CALLING, "stream": True, "background": True}
    whole = events_of(ask(language_cluster, "responses", body)[1])
    id_ = whole[0]["response"]["id"]
    for at in range(0, len(whole) - 1, max(1, len(whole) // 7)):
        number = whole[at]["sequence_number"]
        _, rest = ask(language_cluster, f"responses/{id_}?stream=true&starting_after={number}")
        rest = events_of(rest)

        added = [*whole[: at + 1], *rest]
        deltas = [event["delta"] for event in added if "arguments.delta" in event["type"]]
        (call,) = rest[-1]["response"]["output"]
        assert "".join(deltas) == call["arguments"]
        assert [event["type"] for event in added].count("response.output_item.added") == 1
        assert rest[-1]["sequence_number"] == whole[-1]["sequence_number"]
        assert rest[0]["sequence_number"] > number


def test_a_conversation_goes_on_with_what_a_call_brought(language_cluster):
    few = {**BODY, "max_output_tokens": 4}
    brought = [
        {"role": "user", "content": "a"},
        {"type": "function_call", "call_id": "call_1", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "noon"},
    ]
    bodies = few, {**few, "input": brought}, {**few, "input": brought, "tools": TOOLS[1:]}
    counts = []
    for body in bodies:
        counts.append(answered(language_cluster, body)["usage"]["input_tokens"])
        said = answered(language_cluster, body, "/input_tokens")
        assert said == {"object": "response.input_tokens", "input_tokens": counts[-1]}

    assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize("looked_at", [False, True], ids=["at once", "on its way"])
async def test_an_answer_in_the_background_is_cancelled(looked_at, language_cluster):
    body = {**BODY, "max_output_tokens": 240, "ignore_eos": True, "background": True}
    body["input"] = "hello " * 2 + str(looked_at)
    begun = answered(language_cluster, body)

    def has_begun():
        return json.loads(ask(language_cluster, f"responses/{begun['id']}")[1])["output"]

    if looked_at:
        await eventually(has_begun)
    status, cancelled = post(language_cluster, f"{begun['id']}/cancel")
    again = json.loads(ask(language_cluster, f"responses/{begun['id']}")[1])
    _, twice = post(language_cluster, f"{begun['id']}/cancel")

    # It may have been quicker than whoever cancelled it.
    assert (status, cancelled["status"]) in ((200, "cancelled"), (200, "incomplete"))
    assert (again["status"], again["output"]) == (cancelled["status"], cancelled["output"])
    assert (twice["status"], twice["output"]) == (cancelled["status"], cancelled["output"])


async def test_an_answer_that_waits_is_cancelled_before_it_begins(language_cluster):
    """All slots of both workers are taken by others, which end by being cancelled as well."""
    body = {**BODY, "max_output_tokens": 240, "ignore_eos": True, "background": True}
    begun = [answered(language_cluster, {**body, "seed": seed})["id"] for seed in range(24)]
    found = [post(language_cluster, f"{id_}/cancel")[1] for id_ in reversed(begun)]

    assert "cancelled" in {one["status"] for one in found}
    assert {one["status"] for one in found} <= {"cancelled", "incomplete"}
    assert {one["completed_at"] for one in found} == {None}


async def test_an_answer_that_has_ended_stays_as_it_is(language_cluster):
    body = {**CALLING, "background": True}
    begun = answered(language_cluster, body)

    def ended():
        found = json.loads(ask(language_cluster, f"responses/{begun['id']}")[1])
        return found if found["status"] != "in_progress" else None

    found = await eventually(ended)
    status, after = post(language_cluster, f"{begun['id']}/cancel")

    assert (status, after) == (200, found)
    assert begun["created_at"] <= found["completed_at"] < time.time() + 1


@pytest.mark.parametrize("id_", ["resp_00", "resp_00_dGlueQ"])
def test_what_is_not_kept_cannot_be_cancelled(id_, language_cluster):
    status, body = post(language_cluster, f"{id_}/cancel")

    assert (status, body["error"]["code"]) == (404, "not_found")
