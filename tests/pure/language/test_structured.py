"""Structured answers of a tiny random model: whatever it would say, they are what they must be."""

import json
import re
import threading

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.language.devices import CPU
from support.language.schemas import PERSON

from penstock.errors import InvalidRequest
from penstock.language.finish import Finish
from penstock.language.grammar.grammars import Grammars
from penstock.language.grammar.masks import Mask, MaskThreads
from penstock.language.grammar.structure import Structure
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.language.payload import options_from_json, options_to_json
from penstock.language.tokenizer import Tokenizer
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.language.stage import Stage
from penstock.workers.language.structured import Structured

CAPACITY = 128
PROMPT = [9, 80, 33]


@pytest.fixture(scope="module")
def open_model(versions):
    """Loads the model, as another worker would."""

    def open_(slots=4, patience_s=10.0):
        directory = versions[1]
        manifest = read_manifest(directory)
        stage = Stage.open(directory, manifest, 0, (slots, CAPACITY), CPU)
        return Pipeline(manifest, [stage], slots, Structured(directory, manifest, patience_s))

    return open_


@pytest.fixture(scope="module")
def model(open_model):
    return open_model()


@pytest.fixture(scope="module")
def decode(versions):
    return Tokenizer.read(versions[1]).decode


def _options(structured, **others):
    return DecodingOptions.of({"structured_outputs": structured, **others})


def _answer(model, options, log=()):
    """The answer, and how it ended."""
    engine = Engine(model, model.manifest.end_tokens)
    answer = Answer(list(PROMPT), options, list(log))
    engine.admit(answer)
    brought = []
    while not engine.is_idle:
        brought += engine.step()
    return answer, brought[-1]


leaves = st.one_of(
    st.builds(
        lambda low, by: {"type": "integer", "minimum": low, "maximum": low + by},
        st.integers(-200, 200),
        st.integers(0, 300),
    ),
    st.builds(lambda most: {"type": "string", "maxLength": most}, st.integers(0, 6)),
    st.builds(lambda values: {"enum": values}, st.lists(st.text(max_size=4), min_size=1)),
    st.builds(lambda value: {"const": value}, st.one_of(st.none(), st.booleans(), st.text())),
    st.sampled_from(
        [
            {"type": "boolean"},
            {"type": ["null", "boolean"]},
            {"type": "string", "pattern": "^[a-c]{1,3}(x|yz)$"},
            {"type": "string", "format": "date"},
            {"type": "number", "minimum": -1, "maximum": 1},
        ]
    ),
)


def _object(properties, required):
    names = sorted(properties)
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name, needed in zip(names, required, strict=False) if needed],
        "additionalProperties": False,
    }


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda of, n: {"type": "array", "items": of, "maxItems": n}, inner, st.just(2)),
        st.builds(lambda several: {"anyOf": several}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            _object,
            st.dictionaries(st.text('abé "', min_size=1, max_size=3), inner, max_size=3),
            st.lists(st.booleans(), min_size=3, max_size=3),
        ),
    ),
    max_leaves=5,
)


@settings(max_examples=25, deadline=None)
@given(schemas, st.integers(0, 99), st.sampled_from([0, 1.3, 50]))
def test_an_answer_is_json_by_its_schema(model, decode, schema, seed, temperature):
    """Only the end of the context keeps one from being complete."""
    options = _options({"json": schema}, temperature=temperature, seed=seed)
    answer, last = _answer(model, options)

    if last.finish is Finish.LENGTH:
        assert answer.length == CAPACITY
    else:
        assert last.finish is Finish.STOP
        jsonschema.validate(json.loads(decode(answer.log)), schema)


@settings(max_examples=25, deadline=None)
@given(schemas, st.integers(0, 99), st.data())
def test_an_answer_goes_on_elsewhere_from_any_token_of_its_log(model, schema, seed, data):
    """What may come next is a function of the request and the log."""
    options = _options({"json": schema}, temperature=1.3, top_p=0.95, seed=seed)
    whole, _ = _answer(model, options)
    count = data.draw(st.integers(0, len(whole.log) - 1))

    assert _answer(model, options, whole.log[:count])[0].log == whole.log


def test_an_answer_ends_where_it_is_complete(model, decode):
    for seed in range(5):
        answer, last = _answer(model, _options({"json": PERSON}, temperature=1, seed=seed))

        assert last.finish is Finish.STOP
        jsonschema.validate(json.loads(decode(answer.log)), PERSON)
        assert answer.log[-1] in model.manifest.end_tokens
        assert not set(answer.log[:-1]) & set(model.manifest.end_tokens)


@pytest.mark.parametrize(
    ("structured", "fits"),
    [
        ({"regex": "[0-9]{3}-[0-9]{2}"}, lambda text: len(text) == 6 and text[3] == "-"),
        ({"choice": ["yes", 'n"o', "perhaps"]}, lambda text: text in ("yes", 'n"o', "perhaps")),
        (
            {"grammar": 'start: "a" b{2,3} "."\nb: "(" b? ")"'},
            lambda text: text[0] == "a" and text.count("(") == text.count(")") >= 2,
        ),
        ({"json_object": True}, lambda text: isinstance(json.loads(text), dict)),
    ],
    ids=["regex", "choice", "grammar", "object"],
)
def test_a_text_is_what_it_must_be(structured, fits, model, decode):
    endings = set()
    for seed in range(8):
        options = _options(structured, temperature=1.2, seed=seed)
        answer, last = _answer(model, options)
        endings.add(last.finish)
        if last.finish is Finish.STOP:
            assert fits(decode(answer.log))

    assert Finish.STOP in endings


def test_no_model_writes_blanks_without_end(model, decode):
    digits = {"type": "integer", "minimum": 0, "maximum": 9}
    schema = {"type": "array", "items": digits, "minItems": 40}
    for seed in range(4):
        answer, _ = _answer(model, _options({"json": schema}, temperature=50, seed=seed))

        assert re.search(r"\s{22}|\s\n", decode(answer.log)) is None


def test_the_most_tokens_end_an_answer_in_the_middle(model, decode):
    answer, last = _answer(model, _options({"json": PERSON}, max_tokens=4))

    assert (last.finish, len(answer.log)) == (Finish.LENGTH, 4)
    assert decode(answer.log).startswith("{")


@pytest.mark.parametrize(
    "grammar",
    ['start: "a" b\nb: ("b" "c"){100000}', 'start: "a" <|user|> B\nB: /x/ & /y/'],
    ids=["beyond the bounds", "nothing fits"],
)
def test_an_answer_that_cannot_go_on_ends_as_stuck_and_others_go_on(grammar, model):
    engine = Engine(model, model.manifest.end_tokens)
    stuck = Answer(list(PROMPT), _options({"grammar": grammar}))
    other = Answer(list(PROMPT), DecodingOptions(max_tokens=20, ignore_end=True))
    engine.admit(stuck)
    engine.admit(other)
    ended = []
    for _ in range(60):
        ended += [new for new in engine.step() if new.finish or new.is_stuck]

    assert [(new.answer, new.is_stuck, new.finish) for new in ended] == [
        (stuck, True, None),
        (other, False, Finish.LENGTH),
    ]
    assert len(stuck.log) < 3


def test_an_answer_whose_mask_takes_long_holds_up_nobody(open_model, model):
    """It has its tokens later; they are the same."""
    options = _options({"json": PERSON}, temperature=1, seed=3)
    slow = open_model(patience_s=0.0)
    engine = Engine(slow, slow.manifest.end_tokens)
    other = Answer(list(PROMPT), DecodingOptions(max_tokens=20, ignore_end=True))
    late = Answer(list(PROMPT), options)
    engine.admit(other)
    engine.admit(late)
    engine.step()
    for count in range(2, 21):
        engine.step()
        assert len(other.log) == count
    while not engine.is_idle:
        engine.step()

    assert late.log == _answer(model, options)[0].log


def test_what_may_come_is_waited_for_no_longer_than_is_said(versions):
    manifest, prepared = read_manifest(versions[1]), threading.Event()

    def grammars():
        prepared.wait(10)
        text = (versions[1] / "tokenizer.json").read_text()
        return Grammars.of(text, manifest.vocabulary, manifest.end_tokens)

    mask = Mask(MaskThreads(grammars), Structure.of("x", {"regex": "[ab]"}), [])
    early = mask.after([], 0.0)
    prepared.set()

    assert early is None
    assert len(mask.after([], 30.0)) == 2


def test_options_reach_workers_and_other_gateways_as_they_are():
    for structured in (
        {"json": PERSON},
        {"json": json.dumps(PERSON), "lenient": True},
        {"regex": "a|é"},
        {"choice": ["a", "b"]},
        {"grammar": "start: /a/"},
    ):
        options = _options(structured)

        assert options_from_json(options_to_json(options)) == options


@pytest.mark.parametrize(
    ("structured", "message"),
    [
        ({}, "with one of json, regex, grammar"),
        ({"json": PERSON, "regex": "a"}, "with one of"),
        ({"xml": "a"}, "with one of"),
        ("json", "with one of"),
        ({"json": "[]"}, "must be a JSON schema"),
        ({"json": "{"}, "must be a JSON schema"),
        ({"json_object": False}, "must be true"),
        ({"choice": []}, "list of 1 to 1024 texts"),
        ({"choice": [1]}, "list of 1 to 1024 texts"),
        ({"regex": ""}, "must be a text"),
        ({"regex": "a" * 65537}, "more than 64 KiB"),
        ({"json": {"title": "a" * 65537}}, "more than 64 KiB"),
    ],
)
def test_what_is_no_structure_is_refused(structured, message):
    with pytest.raises(InvalidRequest, match=message):
        _options(structured)


def test_an_answer_that_shall_not_end_cannot_have_a_structure():
    with pytest.raises(InvalidRequest, match="remove one"):
        _options({"regex": "a"}, ignore_end=True)
