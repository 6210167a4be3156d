"""Calls of tools by a tiny random model: whatever it would say, they have a name and arguments."""

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.language.schemas import SCHEMAS
from support.models.tiny_language import tokenizer

from penstock.gateway.fronts.http.openai.shapes import Envelope
from penstock.gateway.requests.language.tools.calls import message_of
from penstock.language.finish import Finish
from penstock.language.grammar.tools import Function, call_structure, schema_of
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.language.tokenizer import Tokenizer
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.language.pipeline import Pipeline

FUNCTIONS = [Function(name, schema, strict=True) for name, schema in SCHEMAS.items()]
JSON = schema_of({"enum": ["yes", "no"]}, strict=True)
ENVELOPE = Envelope("x", 0, "m", chat=True, calls=True)


@pytest.fixture(scope="module")
def model(versions):
    return Pipeline.open(versions[2], read_manifest(versions[2]), 2, 128, threads=1)


@pytest.fixture(scope="module")
def say(model, versions):
    """The message that the model answers with, and how the answer has ended."""
    decode = Tokenizer.read(versions[2]).decode

    def say_(structure, log=(), **options):
        asked = DecodingOptions.of({"structured_outputs": structure.to_option(), **options})
        answer = Answer([9, 80, 33], asked, list(log))
        engine = Engine(model, model.manifest.end_tokens)
        engine.admit(answer)
        brought = []
        while not engine.is_idle:
            brought += engine.step()
        finish = brought[-1].finish
        assert finish is Finish.STOP or answer.length in (128, 3 + options.get("max_tokens", 125))
        return message_of(ENVELOPE.reader(0), decode(answer.log), finish), answer.log

    return say_


def _hold(call):
    function = call["function"]
    jsonschema.validate(json.loads(function["arguments"]), SCHEMAS[function["name"]])


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 999), st.booleans())
def test_an_answer_that_must_call_does(say, seed, several):
    structure = call_structure(FUNCTIONS, needed=True, several=several)
    (message, finish), _ = say(structure, temperature=1, seed=seed)

    assert message["content"] is None or finish == "length"
    if finish != "length":
        assert finish == "tool_calls"
        assert several or len(message["tool_calls"]) == 1
        for call in message["tool_calls"]:
            _hold(call)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 999), st.booleans())
def test_an_answer_that_may_call_does_so_or_speaks(say, seed, several):
    """Once it has begun a call it must end it well."""
    structure = call_structure(FUNCTIONS, needed=False, several=several)
    _, spoken = say(structure, temperature=1, seed=seed, max_tokens=4)
    (message, finish), _ = say(structure, _begun(spoken), temperature=1, seed=seed)

    assert finish in ("tool_calls", "length")
    if finish == "tool_calls":
        _hold(message["tool_calls"][0])


def _begun(spoken):
    """The log of an answer that begins a call after what it has *spoken*."""
    library, _ = tokenizer()
    # A call does not begin within a character.
    text = library.decode(spoken).replace("\ufffd", "")
    return library.encode(f"{text}<tool_call>", add_special_tokens=False).ids


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 999))
def test_an_answer_that_has_a_format_calls_or_has_it(say, seed):
    structure = call_structure(FUNCTIONS, needed=False, several=True, answer=JSON)
    (message, finish), _ = say(structure, temperature=1.5, seed=seed)

    if finish == "stop":
        assert json.loads(message["content"]) in ("yes", "no")
