"""The items of an answer's input: each with an id of its own, listed some at a time."""

import pytest

from penstock.gateway.fronts.http.openai.responses.input_items import items_of_input, page_of
from penstock.gateway.requests.language.fields import FieldRefused

ID = "resp_00_dGlueQ"
FIVE = [{"id": f"msg_{n}"} for n in range(5)]


def test_a_text_is_a_message_of_the_user():
    (item,) = items_of_input(ID, "hello")

    assert item == {
        "id": "msg_in0_00_dGlueQ",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "hello"}],
    }


def test_items_have_the_forms_of_the_api():
    given = [
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"text": "b"}]},
        {"type": "message", "role": "assistant", "content": "well"},
        {"type": "function_call", "id": "theirs", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"text": "1"}, {"text": "2"}]},
    ]
    first, second, call, brought = items_of_input(ID, given)

    assert first["content"] == [{"type": "input_text", "text": one} for one in "ab"]
    assert second["content"][0]["type"] == "output_text"
    assert (call["id"], call["call_id"], call["name"]) == ("fc_in2_00_dGlueQ", "c", "f")
    assert (brought["id"], brought["output"]) == ("fco_in3_00_dGlueQ", "12")
    assert first["role"] == "developer"


@pytest.mark.parametrize(
    ("query", "expected", "more"),
    [
        ({}, "43210", False),
        ({"order": "asc"}, "01234", False),
        ({"limit": "2"}, "43", True),
        ({"limit": "2", "after": "msg_3"}, "21", True),
        ({"limit": "2", "after": "msg_2"}, "10", False),
        ({"order": "asc", "after": "msg_3"}, "4", False),
        ({"after": "msg_0"}, "", False),
    ],
)
def test_pages(query, expected, more):
    page = page_of(FIVE, query)

    assert "".join(one["id"][-1] for one in page["data"]) == expected
    assert page["has_more"] == more
    assert page["first_id"] == (f"msg_{expected[0]}" if expected else None)
    assert page["last_id"] == (f"msg_{expected[-1]}" if expected else None)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_of_any_size_bring_each_item_once(order):
    for limit in range(1, 7):
        found, query = [], {"limit": str(limit), "order": order}
        while True:
            page = page_of(FIVE, query)
            found += page["data"]
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]

        assert found == (FIVE if order == "asc" else FIVE[::-1])


@pytest.mark.parametrize(
    "query",
    [{"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"order": "up"}, {"after": "msg_9"}],
)
def test_what_cannot_be_is_refused_by_its_name(query):
    with pytest.raises(FieldRefused) as refused:
        page_of(FIVE, query)

    assert refused.value.field == next(iter(query))
