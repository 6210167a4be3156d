"""Structures of strangers: what no answer can have is said, and nothing ends the gateway."""

import os

import pytest
from support.models import tiny_language

from penstock.errors import InvalidRequest
from penstock.language.grammar.checks import Checks, StructureRefused
from penstock.language.grammar.structure import Structure

FINE = {"json": {"type": "object", "properties": {"a": {"type": "integer"}}}}


def _chain(count):
    rules = "\n".join(f"r{number}: r{number + 1}" for number in range(count))
    return {"grammar": f'start: r0\n{rules}\nr{count}: "a"'}


def _many_properties(count):
    return {"json": {"type": "object", "properties": {f"p{n}": {} for n in range(count)}}}


@pytest.fixture(scope="module")
def make():
    """Makes checks for the tiny model, whose processes end with the tests."""
    made = []

    def make_(limit_s=20.0, end_tokens=(tiny_language.END,)):
        tokenizer, vocabulary = tiny_language.tokenizer()
        made.append(Checks(tokenizer.to_str, len(vocabulary), end_tokens, limit_s))
        return made[-1]

    yield make_
    for checks in made:
        checks.close()


@pytest.fixture(scope="module")
def checks(make):
    return make()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"regex": "(a"}, "regular expression cannot be used: .*unclosed group"),
        ({"regex": "(?=a)b"}, "look-around"),
        ({"regex": "(" * 9000 + "a" + ")" * 9000}, "regular expression cannot be used"),
        ({"grammar": "a b c"}, "the grammar cannot be used"),
        ({"grammar": 'start: ("a" "b"){100000}'}, "no answer can begin so: .*Too many items"),
        ({"grammar": 'start: start "a"'}, "no answer can begin so"),
        ({"grammar": "start: " + "(" * 9000 + '"a"' + ")" * 9000}, "too deeply nested"),
        (_chain(3500), "the grammar is nested too deeply, or needs too much memory"),
        ({"json": {"type": "strnig"}}, "the JSON schema cannot be used: Invalid type: strnig"),
        ({"json": {"not": {}}}, r'Unimplemented keys: \["not"\]'),
        ({"json": {"format": "bogus", "type": "string"}}, "Unknown format: bogus"),
        ({"json": {"$ref": "http://127.0.0.1:1/a"}}, "http://127.0.0.1:1/a"),
        ({"json": {"$ref": "#"}}, "no answer can begin so"),
        ({"json": {"allOf": [{"type": "null"}, {"type": "array"}]}}, "Unsatisfiable"),
        (_many_properties(1500), "no answer can begin so: .*items"),
    ],
)
def test_what_no_answer_can_have_is_refused_and_the_next_is_fine(given, message, checks):
    with pytest.raises(StructureRefused, match=message):
        checks.check(Structure.of("x", given))

    checks.check(Structure.of("x", FINE))


def test_a_structure_that_takes_long_is_stopped(make):
    hasty = make(limit_s=0.1)

    with pytest.raises(StructureRefused, match=r"takes longer than 0\.1 s"):
        hasty.check(Structure.of("x", _many_properties(4000)))


def test_keywords_that_are_not_known_are_passed_over_where_that_is_said(checks):
    schema = {"type": "object", "not": {}, "unevaluatedProperties": False}
    checks.check(Structure.of("x", {"json": schema, "lenient": True}))

    with pytest.raises(StructureRefused, match="Unimplemented keys"):
        checks.check(Structure.of("x", {"json": schema}))


def test_what_was_tried_is_known(make):
    one, structure = make(), Structure.of("x", FINE)
    one.check(structure)
    one.close()

    assert one.is_known(structure)
    one.check(structure)
    assert one._process._process is None


def test_a_process_that_is_gone_is_started_anew(make):
    one = make()
    one.check(Structure.of("x", FINE))
    os.kill(one._process._process.pid, 9)
    one._process._process.wait()

    one.check(Structure.of("x", {"regex": "a"}))


def test_a_model_without_an_end_token_has_no_structured_answers(make):
    with pytest.raises(InvalidRequest, match="no end token"):
        make(end_tokens=()).check(Structure.of("x", FINE))
