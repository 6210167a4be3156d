"""Tools over the OpenAI API: what may be called, what models are told, what calls look like."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.fronts.http.openai.asked import chat_of
from penstock.gateway.fronts.http.openai.shapes import Choice, Envelope
from penstock.gateway.requests.language.fields import FieldRefused
from penstock.gateway.requests.language.tools.calls import Calls
from penstock.language.grammar.telling import in_plain_words
from penstock.language.grammar.tools import CLOSE, NAMED, OPEN, TAG

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
NOW = {"type": "function", "function": {"name": "now", "strict": True}}
ONE = {"type": "function", "function": {"name": "now"}}


def call(name, arguments):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def grammar(**fields):
    asked = chat_of({**HELLO, "tools": [WEATHER, NOW], **fields})
    return asked.options["structured_outputs"]["grammar"]


@pytest.mark.parametrize(
    "fields",
    [{}, {"tools": []}, {"tools": [WEATHER], "tool_choice": "none"}, {"tool_choice": "auto"}],
)
def test_where_nothing_may_be_called_nothing_is_told(fields):
    asked = chat_of({**HELLO, **fields})

    assert (asked.options, asked.structure, asked.tools) == ({}, None, ())


def test_what_may_be_called_is_told_as_it_came_and_held_to_its_schema():
    asked = chat_of({**HELLO, "tools": [WEATHER, NOW]})
    written = asked.options["structured_outputs"]["grammar"]

    assert list(asked.tools) == [WEATHER, NOW]
    assert asked.structure.field == "tools"
    assert '"required": ["city"]' in written
    assert '"lenient": true' in written.split("a1:")[0]
    assert '"lenient": false' in written.split("a1:")[1]


def test_a_choice_says_what_must_be_called_and_how_often():
    auto, needed, named = (
        grammar(tool_choice=choice).split("start: ")[1].split("\n")[0]
        for choice in ("auto", "required", ONE)
    )
    once = grammar(tool_choice="required", parallel_tool_calls=False)

    assert (auto, needed, named) == ("spoken* rest", 'call ("\\n" call)*', "call")
    assert "start: call\n" in once + "\n"
    assert "weather" not in grammar(tool_choice=ONE)


def test_what_is_said_instead_of_a_call_may_have_a_format():
    format_ = {"type": "json_schema", "json_schema": {"schema": {"enum": [1]}, "strict": True}}

    assert "start: call | answer" in grammar(response_format=format_, parallel_tool_calls=False)
    assert "answer" not in grammar(response_format=format_, tool_choice="required")


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"tools": {}, "tool_choice": "auto"}, None, ""),
        ({"tools": [{}]}, "tools", r"tools\[0\] must be of type 'function'"),
        ({"tools": [WEATHER, {"type": "function"}]}, "tools", r"tools\[1\].function must be"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools",
            "must be 1 to 64 letters",
        ),
        ({"tools": [WEATHER, WEATHER]}, "tools", "two functions of the same name"),
        ({"tools": [NOW] * 129}, "tools", "at most 128"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]},
            "tools",
            "JSON schema of type 'object'",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "strict": 1}}]},
            "tools",
            "strict must be true or false",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "description": 7}}]},
            None,
            "",
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "a", "parameters": {"title": "x" * 70_000}},
                    }
                ]
            },
            "tools",
            "more than 64 KiB",
        ),
        ({"tools": [NOW], "tool_choice": "any"}, "tool_choice", "must be none, auto, required"),
        ({"tools": [WEATHER], "tool_choice": ONE}, "tool_choice", "of one in tools"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"tools": [NOW], "parallel_tool_calls": 1}, "parallel_tool_calls", "true or false"),
        ({"tools": [NOW], "guided_regex": "a"}, "guided_regex", "cannot be together with tools"),
        ({"tools": [NOW], "ignore_eos": True}, "ignore_eos", "cannot be together with tools"),
        ({"functions": [{"name": "a"}]}, "functions", "not offered"),
    ],
)
def test_tools_that_cannot_be_are_refused_by_their_field(fields, field, message):
    if field is None:
        chat_of({**HELLO, **fields})
        return
    with pytest.raises(FieldRefused, match=message) as refused:
        chat_of({**HELLO, **fields})

    assert refused.value.field == field


CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "now", "arguments": '{"a": "é"}'}},
        {"id": "2", "type": "function", "function": {"name": "weather", "arguments": ""}},
    ],
}
BROUGHT = [
    {"role": "tool", "tool_call_id": "1", "content": "noon"},
    {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "sun"}]},
]


def test_earlier_calls_are_told_with_arguments_as_objects():
    (messages,) = chat_of({**HELLO, "messages": [CALLED, *BROUGHT]}).prompts

    assert [one["function"]["arguments"] for one in messages[0]["tool_calls"]] == [{"a": "é"}, {}]
    assert [one["content"] for one in messages] == ["", "noon", "sun"]


@pytest.mark.parametrize(
    "calls", [7, [7], [{"function": {"name": "a"}}], [{"function": {"arguments": "{}"}}]]
)
def test_an_earlier_call_that_is_none_is_refused(calls):
    with pytest.raises(FieldRefused, match="tool_calls"):
        chat_of({**HELLO, "messages": [{"role": "assistant", "tool_calls": calls}]})


def test_a_template_that_knows_no_tools_is_told_in_plain_words():
    (messages,) = chat_of({**HELLO, "messages": [*HELLO["messages"], CALLED, *BROUGHT]}).prompts
    told = in_plain_words(messages, [NOW])
    more = in_plain_words([{"role": "system", "content": "Be brief."}, *messages], [NOW])

    assert [one["role"] for one in told] == ["system", "user", "assistant", "user"]
    assert json.dumps(NOW) in told[0]["content"]
    assert told[2] == {
        "role": "assistant",
        "content": call("now", '{"a": "é"}') + "\n" + call("weather", "{}"),
    }
    assert told[3]["content"] == (
        "<tool_response>\nnoon\n</tool_response>\n<tool_response>\nsun\n</tool_response>"
    )
    assert more[0]["content"].startswith("Be brief.\n\nYou may call functions.")
    assert in_plain_words(messages[:1], []) == messages[:1]


@pytest.mark.parametrize(
    ("parameters", "arguments"),
    [
        (None, "{}"),
        ({"properties": {"city": {"type": "string"}}}, '{"city": string}'),
        (
            {
                "properties": {
                    "unit": {"enum": ["C", "F"]},
                    "days": {"type": "integer"},
                    "more": {"type": ["string", "null"]},
                    "from": {"type": ["string", "null"], "default": "now"},
                    "what": {},
                },
                "required": ["unit", "days", "from", "what", "unheard-of", ["b"]],
            },
            '{"unit": "C" | "F", "days": integer, "from": string | null, "what": value}',
        ),
        ({"properties": [], "required": 3}, "{}"),
    ],
)
def test_models_are_shown_a_call_of_the_first_function_by_its_own_schema(parameters, arguments):
    """A made-up name, or a value, is what small models repeat."""
    first = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    (told,) = in_plain_words([], [first, NOW])

    example = told["content"].rpartition("as this:\n")[2]
    assert example == call("weather", arguments)


ARGUMENTS = '{"city": "a\\"}{\\\\", "more": {"b": ["}"]}}'
TEXTS = {
    "": ("", [], "stop"),
    " just text <tool_ca": (" just text <tool_ca", [], "stop"),
    call("now", "{}"): ("", [("now", "{}")], "tool_calls"),
    f"Let me see.\n{call('weather', ARGUMENTS)}\n{call('now', '{ }')}\n": (
        "Let me see.",
        [("weather", ARGUMENTS), ("now", "{ }")],
        "tool_calls",
    ),
    f"{call('now', '{}')} and so": (" and so", [("now", "{}")], "tool_calls"),
    call("weather", ARGUMENTS)[:60]: ("", [("weather", ARGUMENTS[: 60 - 45])], "tool_calls"),
    call("now", "{}")[:25]: ("", [], "stop"),
    "See: " + call("now", "{}")[:14]: ("See:", [], "stop"),
}


def _of(deltas):
    """The message that a client puts together."""
    content, calls = "", {}
    for delta in deltas:
        content += delta.get("content", "")
        for one in delta.get("tool_calls", ()):
            known = calls.setdefault(one["index"], {"name": "", "arguments": "", "id": ""})
            known["id"] += one.get("id", "")
            known["name"] += one["function"].get("name", "")
            known["arguments"] += one["function"]["arguments"]
    return content, calls


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@given(data=st.data())
def test_calls_are_the_same_however_their_text_comes(text, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    calls, deltas = Calls("x"), []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        deltas.append(calls.push(text[begin:end]))
    deltas.append(calls.push("", last=True))
    content, called = _of(deltas)
    expected, wanted, finish = TEXTS[text]

    assert content == expected
    assert [(one["name"], one["arguments"]) for one in called.values()] == wanted
    assert calls.finish("stop") == finish
    assert calls.finish("length") == "length"
    assert len({one["id"] for one in called.values()}) == len(wanted)


@given(st.lists(st.sampled_from([OPEN, NAMED, CLOSE, TAG, *'{}"\\a\n ']), max_size=20))
def test_no_text_is_read_otherwise_when_it_comes_letter_by_letter(pieces):
    text = "".join(pieces)
    whole, slow = Calls("x"), Calls("x")
    letters = [slow.push(letter) for letter in text]

    assert _of([whole.push(text, last=True)]) == _of([*letters, slow.push("", last=True)])


def test_a_whole_answer_and_a_stream_have_the_same_calls():
    text = f"See:\n{call('weather', ARGUMENTS)}"
    envelope = Envelope("chatcmpl-7", 0, "m", chat=True, calls=True)
    whole = json.loads(envelope.whole([Choice(text, "stop", 1, 2)], 1))["choices"][0]
    content, called = _of([envelope.reader(0).push(text, last=True)])

    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"]["content"] == content == "See:"
    (one,) = whole["message"]["tool_calls"]
    assert one == {
        "id": called[0]["id"],
        "type": "function",
        "function": {"name": "weather", "arguments": ARGUMENTS},
    }
    assert envelope.reader(1).push(text)["tool_calls"][0]["id"] != one["id"]
