"""Places in streams of the OpenAI API: what the id of an event says, and what it cannot say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidRequest
from penstock.gateway.fronts.http.openai.places import Place, Resumable, checked, resumable_of

names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=200)
places = st.lists(st.builds(Place, st.integers(0, 10**9 - 1), st.booleans()), min_size=1)


@given(names, places)
def test_an_id_of_an_event_tells_what_its_client_has(name, had):
    id_ = Resumable(name).event_id(had).encode()

    assert resumable_of({b"last-event-id": id_}) == Resumable(name, tuple(had))
    both = {b"last-event-id": id_, b"penstock-resume": name.encode()}
    assert resumable_of(both) == Resumable(name, tuple(had))


def test_a_request_may_say_nothing_of_it_or_only_a_name():
    assert resumable_of({}) is None
    assert resumable_of({b"penstock-resume": b"a"}) == Resumable("a")
    assert Resumable("a").place(3) == Place(0, ended=False)
    assert Resumable("a").answer(3) == "a/3"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({b"penstock-resume": b""}, "1 to 200"),
        ({b"penstock-resume": b"a b"}, "no spaces"),
        ({b"penstock-resume": b"a" * 201}, "1 to 200"),
        ({b"last-event-id": b"7"}, "the id of an event that this API has sent"),
        ({b"last-event-id": b":7"}, "the id of an event"),
        ({b"last-event-id": b"a:x"}, "the id of an event"),
        ({b"last-event-id": b"a:7.."}, "the id of an event"),
        ({b"last-event-id": b"a:" + b"7" * 10}, "the id of an event"),
        ({b"last-event-id": b"a:7", b"penstock-resume": b"b"}, "of different requests"),
    ],
)
def test_headers_that_cannot_be_are_refused(headers, message):
    with pytest.raises(InvalidRequest, match=message):
        resumable_of(headers)


def test_it_must_be_the_request_that_it_was():
    one = resumable_of({b"last-event-id": b"a:7"})

    assert checked(one, 1, stream=True) == one
    with pytest.raises(InvalidRequest, match="of a request for 1 answers, this one is for 2"):
        checked(one, 2, stream=True)
    with pytest.raises(InvalidRequest, match="set stream to true"):
        checked(one, 1, stream=False)
