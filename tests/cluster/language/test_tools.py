"""Tools over the OpenAI API of a cluster: calls as its clients read them, the same every time."""

import json

import jsonschema
import pytest
from support.clients.answers import ask, chunks
from support.language.schemas import SCHEMAS

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": schema, "strict": True}}
    for name, schema in SCHEMAS.items()
]
CHAT = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "a"}],
    "temperature": 1.1,
    "max_tokens": 150,
}


def calls_of(message):
    """Name and arguments of each call, which must be what its function takes."""
    found = []
    for call in message["tool_calls"]:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        jsonschema.validate(json.loads(arguments), SCHEMAS[name])
        found.append((name, arguments))
    return found


def put_together(events, count):
    """What a client makes of a stream: each choice's message, and how it has ended."""
    messages = [{"content": "", "tool_calls": {}, "finish": None} for _ in range(count)]
    for event in events:
        for choice in event["choices"]:
            message, delta = messages[choice["index"]], choice["delta"]
            message["finish"] = choice["finish_reason"] or message["finish"]
            message["content"] += delta.get("content") or ""
            for one in delta.get("tool_calls", ()):
                nothing = {"id": "", "name": "", "arguments": ""}
                call = message["tool_calls"].setdefault(one["index"], nothing)
                call["id"] += one.get("id", "")
                call["name"] += one["function"].get("name", "")
                call["arguments"] += one["function"]["arguments"]
    return messages


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", set(SCHEMAS)),
        ({"type": "function", "function": {"name": "weather"}}, {"weather"}),
    ],
    ids=["required", "named"],
)
def test_calls_are_the_same_whole_and_streamed(choice, names, language_cluster):
    body = {
        **CHAT,
        "tools": TOOLS,
        "tool_choice": choice,
        "parallel_tool_calls": False,
        "n": 3,
        "seed": 4,
    }
    status, content = ask(language_cluster, "chat/completions", body)
    _, streamed = ask(language_cluster, "chat/completions", {**body, "stream": True})
    choices = json.loads(content)["choices"]
    messages = put_together(chunks(streamed), 3)

    assert status == 200
    for one, message in zip(choices, messages, strict=True):
        ((name, arguments),) = calls_of(one["message"])
        (call,) = message["tool_calls"].values()
        assert name in names
        assert (call["name"], call["arguments"]) == (name, arguments)
        assert call["id"].startswith("call_")
        assert one["message"]["content"] is None
        assert message["content"] == ""
        assert one["finish_reason"] == message["finish"] == "tool_calls"
    assert len({message["tool_calls"][0]["id"] for message in messages}) == 3


def _placed(content):
    """The events of a stream that may be resumed, each with its id, or None."""
    found = []
    for event in content.decode().split("\n\n")[:-2]:
        *id_, data = [line for line in event.split("\n") if not line.startswith(":")]
        found.append((id_[0][4:] if id_ else None, json.loads(data.removeprefix("data: "))))
    return found


def test_a_stream_with_calls_goes_on_behind_any_event(language_cluster):
    body = {**CHAT, "tools": TOOLS, "tool_choice": "required", "seed": 4, "stream": True, "n": 2}
    body["parallel_tool_calls"] = False
    named = {"Penstock-Resume": "calls"}
    whole = _placed(ask(language_cluster, "chat/completions", body, named)[1])
    expected = put_together((event for _, event in whole), 2)
    places = [at for at, (id_, _) in enumerate(whole) if id_]

    # A gateway that is busy tells several tokens in one event.
    assert len(places) > 1
    for at in places[:: max(1, len(places) // 6)]:
        last = {"Last-Event-ID": whole[at][0]}
        rest = _placed(ask(language_cluster, "chat/completions", body, last)[1])
        seen = [event for _, event in (*whole[: at + 1], *rest)]
        assert put_together(seen, 2) == expected


def test_a_conversation_goes_on_with_what_a_call_brought(language_cluster):
    """The model is told of the functions, of the call, and of what it brought."""
    called = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    messages = [
        *CHAT["messages"],
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
    ]
    few = {**CHAT, "max_tokens": 4}
    bodies = (
        few,
        {**few, "messages": messages},
        {**few, "messages": messages, "tools": TOOLS[1:]},
        {**few, "messages": messages, "tools": TOOLS[1:], "tool_choice": "none"},
    )
    answers = [json.loads(ask(language_cluster, "chat/completions", body)[1]) for body in bodies]

    assert all(len(answer.get("choices", ())) == 1 for answer in answers), answers
    plain, told, tools, none = (answer["usage"]["prompt_tokens"] for answer in answers)
    assert plain < told == none < tools
    assert {answer["choices"][0]["finish_reason"] for answer in answers} <= {"length", "stop"}


def test_the_most_tokens_end_a_call_in_the_middle(language_cluster):
    body = {**CHAT, "tools": TOOLS, "tool_choice": "required", "max_tokens": 50, "seed": 1}
    _, content = ask(language_cluster, "chat/completions", body)
    (choice,) = json.loads(content)["choices"]

    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["name"] in SCHEMAS


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"tools": [{}]}, "tools", "tools[0] must be of type 'function'"),
        ({"tools": TOOLS, "tool_choice": "some"}, "tool_choice", "none, auto, required"),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "a",
                            "strict": True,
                            "parameters": {"properties": {"b": {"type": "strnig"}}},
                        },
                    }
                ]
            },
            "tools",
            "Invalid type: strnig",
        ),
    ],
)
def test_tools_that_cannot_be_are_refused_before_all_else(fields, param, message, language_cluster):
    status, content = ask(language_cluster, "chat/completions", {**CHAT, **fields})
    error = json.loads(content)["error"]

    assert (status, error["param"]) == (400, param)
    assert message in error["message"]
