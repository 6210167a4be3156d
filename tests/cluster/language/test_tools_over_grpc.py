"""Tools over gRPC: asked for beside messages, as chats of the OpenAI API have them."""

import json

import jsonschema
import pytest
from support.clients.answers import ask, request
from support.language.schemas import SCHEMAS

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": schema, "strict": True}}
    for name, schema in SCHEMAS.items()
]
SAMPLED = {"temperature": 1.1, "seed": 4, "max_tokens": 150}
ASKED = {"tools": json.dumps(TOOLS), "tool_choice": "required", "parallel_tool_calls": False}


def asked_for(messages, **parameters):
    """A request for an answer to *messages*."""
    made, content = request("tiny", "", **parameters), json.dumps(messages).encode()
    made.inputs[0].name = "messages"
    made.raw_input_contents[0] = len(content).to_bytes(4, "little") + content
    return made


HELLO = [{"role": "user", "content": "a"}]


def test_an_answer_calls_what_the_openai_api_would_have_called(answers, language_cluster):
    (answer,) = answers.ended([answers.send(asked_for(HELLO, **SAMPLED, **ASKED))])
    body = {"model": "tiny", "messages": HELLO, **SAMPLED, **ASKED, "tools": TOOLS}
    (choice,) = json.loads(ask(language_cluster, "chat/completions", body)[1])["choices"]

    (call,), (expected,) = json.loads(answer.about["tool_calls"]), choice["message"]["tool_calls"]
    assert call["function"] == expected["function"]
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    jsonschema.validate(json.loads(arguments), SCHEMAS[name])
    assert answer.about["finish_reason"] == choice["finish_reason"] == "tool_calls"
    assert answer.text.startswith("<tool_call>")


def test_what_a_call_brought_is_told(answers):
    called = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    told = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
    ]
    few = {**SAMPLED, "max_tokens": 3}
    requests = asked_for(HELLO, **few), asked_for(told, **few), asked_for(told, **few, **ASKED)
    found = answers.ended([answers.send(one) for one in requests])

    assert [answer.error for answer in found] == [""] * 3
    plain, more, tools = (answer.about["prompt_tokens"] for answer in found)
    assert plain < more < tools
    assert ["tool_calls" in answer.about for answer in found] == [False, False, True]


def test_an_answer_with_a_name_has_the_same_calls_again(answers):
    named = {"penstock_resume": "called"}
    (first,) = answers.ended([answers.send(asked_for(HELLO, **SAMPLED, **ASKED, **named))])
    again = asked_for(HELLO, **named)
    del again.inputs[:], again.raw_input_contents[:]
    (second,) = answers.ended([answers.send(again)])

    assert json.loads(first.about["tool_calls"])
    assert second.about["tool_calls"] == first.about["tool_calls"]
    assert (second.text, second.about["finish_reason"]) == (first.text, "tool_calls")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"tools": "[{}]"}, "tools[0] must be of type 'function'"),
        ({"tools": "[{"}, "tools must be a list or an object as JSON"),
        ({"tools": json.dumps(TOOLS), "tool_choice": "some"}, "none, auto, required"),
        ({"tools": json.dumps(TOOLS), "ignore_end": True}, "cannot be together with tools"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(parameters, said, answers):
    (answer,) = answers.ended([answers.send(asked_for(HELLO, **parameters))])

    assert said in answer.error


def test_a_text_has_no_tools(answers):
    (answer,) = answers.ended([answers.ask("tiny", "hello", **ASKED)])

    assert "tools are for messages" in answer.error
