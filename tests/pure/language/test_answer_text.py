from functools import cache

from hypothesis import given
from hypothesis import strategies as st
from support.models import tiny_language

from penstock.language.answer_text import AnswerText
from penstock.language.detokenizer import Detokenizer
from penstock.language.options import DecodingOptions
from penstock.language.stop_strings import StopStrings
from penstock.language.tokenizer import Tokenizer

letters = st.text(alphabet="abc", max_size=30)
stops = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=4)


@cache
def _tokenizer():
    return Tokenizer.from_json(tiny_language.tokenizer()[0].to_str().encode())


@given(st.text(max_size=40), st.text(max_size=10))
def test_pieces_make_the_text_and_no_piece_ends_within_a_character(text, before):
    tokenizer = _tokenizer()
    prompt = tokenizer.encode(before, special=False)
    detokenizer = Detokenizer(tokenizer.decode, prompt)
    pieces = [detokenizer.push(token) for token in tokenizer.encode(text, special=False)]
    last = detokenizer.flush()

    assert "".join(pieces) + last == text
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


@given(st.lists(st.integers(0, 275), max_size=60), st.text(max_size=10))
def test_what_is_known_of_a_token_alone_changes_no_piece(tokens, before):
    """Half characters, end tokens and tokens that there are not come at any place."""
    tokenizer = _tokenizer()
    prompt = tokenizer.encode(before, special=False)
    known = Detokenizer(tokenizer.decode, prompt, tokenizer.plain)
    decoding = Detokenizer(tokenizer.decode, prompt)

    assert [known.push(one) for one in tokens] == [decoding.push(one) for one in tokens]
    assert known.flush() == decoding.flush()


def test_most_tokens_need_no_decoding():
    tokenizer, decoded = _tokenizer(), []

    def decode(tokens):
        decoded.append(tokens)
        return tokenizer.decode(tokens)

    detokenizer = Detokenizer(decode, plain=tokenizer.plain)
    for token in tokenizer.encode("hello world", special=False):
        detokenizer.push(token)

    assert len(decoded) == 2


@given(st.lists(st.integers(3, 268), max_size=60))
def test_tokens_that_are_no_text_are_held_back_for_a_few_tokens_only(tokens):
    detokenizer = Detokenizer(_tokenizer().decode)
    silent = 0
    for token in tokens:
        silent = 0 if detokenizer.push(token) else silent + 1
        assert silent <= 8


def test_a_character_comes_when_its_last_byte_does():
    tokenizer = _tokenizer()
    detokenizer = Detokenizer(tokenizer.decode)
    tokens = tokenizer.encode("aé€😀", special=False)

    assert [detokenizer.push(token) for token in tokens] == [
        *("a", "", "é", "", "", "€"),
        *("", "", "", "😀"),
    ]


def _first_complete(text, stops):
    """How much of *text* comes before the stop string that is complete first."""
    for end in range(len(text) + 1):
        ends = [stop for stop in stops if text[:end].endswith(stop)]
        if ends:
            return text[: end - max(map(len, ends))]
    return text


@given(letters, stops, st.data())
def test_pieces_change_nothing_of_what_stop_strings_leave(text, stops, data):
    found, rest = StopStrings(stops), text
    passed = ""
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        passed += found.push(rest[:size])
        rest = rest[size:]
    passed += found.flush()

    assert passed == _first_complete(text, stops)
    assert (found.found is not None) == any(stop in text for stop in stops)


@given(letters, stops)
def test_no_more_is_held_back_than_a_stop_string_could_begin_with(text, stops):
    found = StopStrings(stops)
    passed = "".join(found.push(letter) for letter in text)
    if found.found is None:
        held = text[len(passed) :]
        assert held == "" or any(stop.startswith(held) for stop in stops)


def test_end_tokens_have_no_text_unless_they_are_ignored():
    decode = _tokenizer().decode

    ended = AnswerText(decode, DecodingOptions(), [ord("a")])
    ignored = AnswerText(decode, DecodingOptions(ignore_end=True), [ord("a")])
    token = _tokenizer().encode("x", special=False)[0]

    assert AnswerText(decode, DecodingOptions(), [token]).push(token) == ""
    assert AnswerText(decode, DecodingOptions(ignore_end=True), [token]).push(token) == "x"
    assert (ended.push(token), ignored.push(token)) == ("x", "x")


def test_a_stop_string_spread_over_tokens_ends_the_text():
    tokenizer = _tokenizer()
    text = AnswerText(tokenizer.decode, DecodingOptions(stop=("lo wo",)), [])
    tokens = tokenizer.encode("hello world", special=False)
    passed = "".join(map(text.push, tokens)) + text.flush()

    assert passed == "hel"
    assert text.stopped_by == "lo wo"
