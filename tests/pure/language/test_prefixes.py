"""Prefixes: what answers find of others changes no token, and is their own caller's."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clients.wired_group import CAPACITY, SLOTS, Group
from support.language.devices import CPU

from penstock.language.grammar.structure import Structure
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.language.rebuild import Rebuild
from penstock.models.config.language_models import PrefixCaching
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.language.prefixes import Prefixes
from penstock.workers.language.runtime import LanguageRuntime, caches_prefixes

VOCABULARY = 7
"""Few tokens: many texts begin alike."""


class Checked:
    """A model whose caches are lists of tokens: nothing may be read over, or taken from others.

    Attributes:
        read_tokens: how many it had to read.
    """

    def __init__(self, slots=SLOTS, capacity=CAPACITY):
        self.slots, self.capacity = slots, capacity
        self.read_tokens = 0
        self.cache = [[None] * capacity for _ in range(slots)]

    def take(self, slot, answer):
        reused = self.cache[slot][: answer.cached]
        assert reused == [(answer.caller, token) for token in _tokens(answer)[: answer.cached]]
        assert answer.cached < answer.length

    def read(self, slot, answer, begin, end):
        self.read_tokens += end - begin
        mark = answer.caller
        self.cache[slot][begin:end] = [(mark, token) for token in _tokens(answer)[begin:end]]

    def next_entries(self, answers):
        found = []
        for slot, answer in enumerate(answers):
            self.read(slot, answer, answer.length - 1, answer.length)
            tokens = _tokens(answer)
            assert self.cache[slot][: len(tokens)] == [(answer.caller, one) for one in tokens]
            found.append((hash(tuple(tokens)) % VOCABULARY,))
        return found

    def swap(self, one, other, length):
        mine, its = self.cache[one], self.cache[other]
        mine[:length], its[:length] = its[:length], mine[:length]

    def move(self, source, target, length):
        self.cache[target][:length] = self.cache[source][:length]


def _tokens(answer):
    return [*answer.prompt, *answer.log]


def _run(engine):
    while not engine.is_idle:
        engine.step()


prompts = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=30)
CALLERS = [None, "", "a", "b"]
events = st.lists(
    st.one_of(
        st.tuples(st.just("new"), prompts, st.sampled_from(CALLERS), st.integers(1, 9)),
        st.tuples(st.just("again"), st.integers(0, 20), prompts, st.integers(1, 9)),
        st.tuples(st.just("step"), st.integers(1, 6)),
        st.tuples(st.just("evict"), st.integers(0, 20)),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(events, st.integers(1, 5), st.integers(1, 9))
def test_what_a_slot_has_is_what_its_answer_says_whatever_happens(events, slots, chunk):
    """Conversations of several callers, which go on, end and are cut off in any order."""
    model = Checked(slots)
    engine = Engine(model, (), chunk, Prefixes(slots))
    answers = []

    def ask(prompt, caller, count):
        options = DecodingOptions(max_tokens=count)
        answers.append(Answer(prompt[-40:], options, caller=caller))
        engine.admit(answers[-1])

    for event in events:
        match event:
            case "new", prompt, caller, count:
                ask(prompt, caller, count)
            case "again", number, more, count if answers:
                before = answers[number % len(answers)]
                ask([*_tokens(before), *more], before.caller, count)
            case "step", count:
                for _ in range(count):
                    engine.step()
            case "evict", number if answers:
                engine.evict(answers[number % len(answers)])
    _run(engine)

    for answer in answers:
        alone = Answer(answer.prompt, answer.options)
        plain = Engine(Checked(1), ())
        plain.admit(alone)
        _run(plain)
        assert answer.log == alone.log[: len(answer.log)]


def _engine(slots=SLOTS):
    model = Checked(slots)
    return model, Engine(model, (), 64, Prefixes(slots))


def _ask(engine, prompt, caller="a", count=3):
    answer = Answer(list(prompt), DecodingOptions(max_tokens=count), caller=caller)
    engine.admit(answer)
    return answer


def test_a_conversation_reads_only_what_is_new():
    model, engine = _engine()
    first = _ask(engine, range(20))
    _run(engine)
    model.read_tokens = 0
    again = _ask(engine, [*_tokens(first), 5, 6])
    _run(engine)

    # The last token of the answer before has been in no step.
    assert again.reused == 22
    assert model.read_tokens == 2 + 1 + len(again.log) - 1


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("", "a"), (None, None), ("a", None)])
def test_nobody_has_part_in_what_is_anothers(one, other):
    _, engine = _engine()
    _ask(engine, range(20), one)
    _run(engine)
    late = _ask(engine, range(20), other)
    beside = _ask(engine, range(20), other if one is None else "c")
    _run(engine)

    assert (late.reused, beside.reused) == (0, 0)


def test_answers_to_one_prompt_read_it_once():
    """They come together: the others have it from the slot of the first, which is in use."""
    model, engine = _engine()
    answers = [_ask(engine, range(20)) for _ in range(4)]
    _run(engine)

    assert [answer.reused for answer in answers] == [0, 19, 19, 19]
    assert model.read_tokens == 19 + 4 * 3


def test_the_slot_that_was_used_longest_ago_goes_first():
    _, engine = _engine(3)
    said = {n: _said(engine, [n] * 10) for n in range(3)}
    for n in (0, 2):
        said[n] = _said(engine, [*said[n], n])

    # There is no place for a fourth: that of 1 goes.
    _said(engine, [6] * 10)
    assert [_reused(engine, said[n]) for n in (0, 2, 1)] == [16, 16, 0]


def _said(engine, prompt):
    answer = _ask(engine, prompt)
    _run(engine)
    return _tokens(answer)


def _reused(engine, prompt):
    answer = _ask(engine, prompt, count=1)
    _run(engine)
    return answer.reused


def test_a_beginning_that_several_have_in_common_stays_for_all():
    _, engine = _engine()
    common = [1] * 10
    _ask(engine, [*common, 2, 3])
    _run(engine)

    assert [_reused(engine, [*common, n, n]) for n in (4, 5)] == [10, 10]
    assert _reused(engine, [*common, 2, 3, 6]) == 12


def test_an_answer_that_leaves_early_leaves_what_was_read():
    _, engine = _engine()
    gone = _ask(engine, range(20), count=30)
    engine.step()
    engine.step()
    engine.evict(gone)

    assert _reused(engine, [*_tokens(gone), 6]) == gone.length - 1


@pytest.mark.parametrize(
    ("asked", "rebuild", "caches"),
    [
        ("auto", Rebuild.PREFILL, True),
        ("auto", Rebuild.REPLAY, False),
        ("auto", Rebuild.NONE, False),
        ("on", Rebuild.NONE, True),
        ("off", Rebuild.PREFILL, False),
    ],
)
def test_by_itself_it_is_done_only_where_it_was_seen_to_change_nothing(asked, rebuild, caches):
    assert caches_prefixes(rebuild, PrefixCaching(asked)) == caches


def test_what_is_said_in_its_configuration_counts_for_the_first_stage(versions):
    said = ModelConfig()
    said.parameters["prefix_caching"].string_value = "off"
    artifact = versions[2] / "shard-0.onnx"
    opened = [LanguageRuntime.open(artifact, config, CPU) for config in (ModelConfig(), said)]

    assert [one.prefix_caching for one in opened] == ["auto", "off"]


# on stages

GREEDY = DecodingOptions(max_tokens=6, ignore_end=True)
DRAWN = dataclasses.replace(GREEDY, temperature=1.3, seed=3, presence_penalty=0.5, logprobs=2)
FITTING = dataclasses.replace(
    DRAWN, ignore_end=False, structured_outputs=Structure.of("x", {"regex": "[a-z ]{30}"})
)
BEGINNINGS = [[9, 80, 33], list(range(100, 125)), [77]]
talks = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([GREEDY, DRAWN, FITTING]),
        st.integers(0, 8),
        st.sampled_from("ab"),
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module", params=[1, 2, 3], ids="{} stages".format)
def group(versions, request):
    return Group(versions[request.param])


@pytest.fixture(scope="module")
def alone(versions):
    """An engine without reuse."""
    directory = versions[1]
    model = Pipeline.open(directory, read_manifest(directory), 1, CAPACITY, threads=1)

    def entries(prompt, options):
        return _entries(Engine(model, ()), [Answer(list(prompt), options)])[0]

    return entries


def _entries(engine, answers):
    found = {id(answer): [] for answer in answers}
    for answer in answers:
        engine.admit(answer)
    while not engine.is_idle:
        for new in engine.step():
            found[id(new.answer)].append(list(new.entry))
    return [found[id(answer)] for answer in answers]


@settings(max_examples=20, deadline=None)
@given(st.lists(talks, min_size=2, max_size=4), st.integers(1, 40))
def test_text_and_numbers_are_the_same_to_the_bit_with_and_without(group, alone, rounds, chunk):
    """Conversations that go on from what was said before, beside each other, in groups."""
    engine = Engine(group.model(), (), chunk, Prefixes(SLOTS))
    said = {}
    for talks in rounds:
        answers = [
            Answer(
                [*said.get((number, caller), BEGINNINGS[number])[:50], *range(40, 40 + more)],
                options,
                caller=caller,
            )
            for number, options, more, caller in talks
        ]
        entries = _entries(engine, answers)
        for answer, found, (number, _, _, caller) in zip(answers, entries, talks, strict=True):
            assert found == alone(answer.prompt, answer.options)
            said[number, caller] = _tokens(answer)
