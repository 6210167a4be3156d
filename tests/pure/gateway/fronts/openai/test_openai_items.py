"""Answers of the Responses API that call functions: items and events, the same at any gateway."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.fronts.http.openai.responses.asked import response_of
from penstock.gateway.fronts.http.openai.responses.items import Items, items_of
from penstock.gateway.requests.language.fields import FieldRefused
from penstock.language.grammar.tools import CLOSE, NAMED, OPEN

ID = "resp_00t_dGlueQ"
NOW = f"{OPEN}now{NAMED}{{}}{CLOSE}"
ODD = f"{OPEN}odd{NAMED}" + json.dumps({"a": "<tool_call> }{ é"}) + CLOSE
TEXTS = [
    "",
    "no call at all, <tool_",
    f"Well. {NOW}",
    f"{NOW}\n{ODD}",
    f"One <b> {ODD}two {NOW} three",
    f"{NOW}\n{ODD[:-20]}",
    OPEN + "no",
]
FUNCTION = {"type": "function", "name": "now", "parameters": {"properties": {"a": {}}}}
BODY = {"model": "m", "input": "hello", "tools": [FUNCTION]}


def events_of(text, cuts=(), after=-1):
    """All events of *text*, which comes in pieces that end at *cuts*."""
    items, found = Items(ID, after), []
    edges = [0, *sorted(cuts), len(text)]
    for begin, end in pairwise(edges):
        found += items.push(text[begin:end])
    return [*found, *items.end("stop")]


def heard(events):
    """What a client makes of events: its items."""
    items = {}
    for _, event in events:
        place, kind = event["output_index"], event["type"].removeprefix("response.")
        if kind == "output_item.added":
            items[place] = {"item": event["item"], "said": "", "done": []}
        elif kind.endswith(".delta"):
            items[place]["said"] += event["delta"]
        elif not kind.endswith(".added"):
            items[place]["done"].append(kind)
    return items


@pytest.mark.parametrize("text", TEXTS)
def test_events_bring_what_the_whole_answer_has(text):
    events = events_of(text)
    items, whole = heard(events), items_of(ID, text, "stop")
    numbers = [number for number, _ in events]

    assert numbers == sorted(set(numbers))
    assert len(items) == len(whole)
    for place, item in enumerate(whole):
        one = items[place]
        assert item["status"] == "completed"
        assert (one["item"]["id"], one["item"]["type"]) == (item["id"], item["type"])
        if item["type"] == "message":
            assert one["said"] == item["content"][0]["text"]
        else:
            assert one["said"] == item["arguments"]
        assert one["done"][-1] == "output_item.done"


def test_text_and_calls_are_items_in_their_order():
    first, odd, second, now, third = items_of(ID, TEXTS[4], "stop")

    texts = [one["content"][0]["text"] for one in (first, second, third)]
    assert texts == ["One <b>", "two", " three"]
    assert (odd["name"], json.loads(odd["arguments"])) == ("odd", {"a": "<tool_call> }{ é"})
    assert (now["name"], now["arguments"]) == ("now", "{}")
    assert len({one["id"] for one in (first, odd, second, now, third)}) == 5
    assert odd["call_id"].removeprefix("call_") == odd["id"].removeprefix("fc_")


def test_a_call_that_was_cut_off_is_incomplete():
    _, cut = items_of(ID, TEXTS[5], "length")
    (going_on,) = items_of(ID, "hell", "")

    assert cut["status"] == "incomplete"
    assert ODD[:-20].endswith(cut["arguments"])
    assert cut["arguments"].startswith('{"a": "<tool_c')
    assert (going_on["status"], going_on["content"][0]["text"]) == ("in_progress", "hell")


@given(st.sampled_from(TEXTS), st.data())
def test_whoever_goes_on_behind_an_event_has_missed_nothing(text, data):
    """However the text came to the first gateway, and comes to the second."""
    cuts = st.lists(st.integers(0, len(text)), max_size=6)
    before = events_of(text, data.draw(cuts))
    at = data.draw(st.integers(0, len(before)))
    last = before[at - 1][0] if at else -1
    rest = events_of(text, data.draw(cuts), after=last)

    assert heard([*before[:at], *rest]) == heard(before)
    assert all(number > last for number, _ in rest)


def test_calls_and_what_they_brought_are_messages_of_the_conversation():
    items = [
        {"role": "user", "content": "what time is it?"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "w"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "1", "name": "now", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "odd", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "1", "output": "noon"},
        {
            "type": "function_call_output",
            "call_id": "2",
            "output": [{"type": "input_text", "text": "no"}],
        },
        {"type": "function_call", "call_id": "3", "name": "now", "arguments": ""},
    ]
    asked = response_of({**BODY, "input": items, "instructions": "be kind"})
    roles = [message["role"] for message in asked.messages]

    assert roles == ["system", "user", "assistant", "tool", "tool", "assistant"]
    called = [one["function"] for one in asked.messages[2]["tool_calls"]]
    assert called == [{"name": "now", "arguments": {}}, {"name": "odd", "arguments": {"a": 1}}]
    assert asked.messages[2]["content"] == "w"
    assert [message["content"] for message in asked.messages[3:5]] == ["noon", "no"]


def test_functions_are_told_as_in_chats_and_repeated_as_they_came():
    asked = response_of({**BODY, "parallel_tool_calls": False})

    function = {"name": "now", "parameters": FUNCTION["parameters"]}
    assert asked.tools == [{"type": "function", "function": function}]
    (repeated,) = asked.said["tools"]
    assert repeated == {**FUNCTION, "description": None, "strict": None}
    assert (asked.said["tool_choice"], asked.said["parallel_tool_calls"]) == ("auto", False)


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools", r"tools\[0\] must be of type 'function'"),
        ({"tools": [{**FUNCTION, "name": ""}]}, "tools", r"tools\[0\].name must be 1 to 64"),
        ({"tool_choice": {"type": "function"}}, "tool_choice", r'"function", "name": ...}'),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice", "of one in tools"),
        ({"include": ["message.output_text.logprobs"]}, "include", "together with tools"),
        ({"input": [{"type": "file"}]}, "input", "items of type message, function_call"),
        ({"input": [{"type": "function_call"}]}, "input", "each function_call must have a name"),
        ({"input": [{"type": "function_call_output", "output": "a"}]}, "input", "a call_id"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(fields, field, said):
    with pytest.raises(FieldRefused, match=said) as caught:
        response_of({**BODY, **fields})

    assert caught.value.field == field
