"""How likely tokens were: numbers of the plain model, and the same whoever goes on."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.clients.wired_group import Group
from support.models import tiny_language
from support.models.reference_decoder import reference_of

from penstock.language.log.entries import (
    entries_in,
    likelihood_in,
    prompt_entries,
    split,
    words_of_entry,
)
from penstock.language.log.likelihoods import LEAST, entry_of
from penstock.language.log.spelling import Spelling
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.language.tokenizer import Tokenizer
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.language.pipeline import Pipeline

SIZE, CAPACITY, TOKENS = 30, 64, 12
PROMPT = [5, 5, 5, 9, 9, 200, 31]
PLAIN = DecodingOptions(max_tokens=TOKENS, ignore_end=True, logprobs=4)
CHANGED = replace(
    PLAIN,
    temperature=1.3,
    top_p=0.9,
    seed=3,
    presence_penalty=0.5,
    repetition_penalty=1.2,
    logit_bias={40: 9.0},
)
rows = st.lists(
    st.one_of(st.floats(-20, 20, width=32), st.sampled_from([float("nan"), -float("inf"), 1.0])),
    min_size=SIZE,
    max_size=SIZE,
).map(lambda values: np.array(values, np.float32))


def likelihood(entry, options):
    (found,) = entries_in(np.array(entry, "<u4").tobytes(), options)
    assert found[0] == entry[0]
    return likelihood_in(found)


@given(rows, st.integers(0, SIZE - 1), st.integers(0, 20))
@example(np.full(SIZE, np.nan, np.float32), 3, 5)
@example(np.full(SIZE, 2.0, np.float32), 3, 5)
def test_an_entry_says_how_likely_its_token_was_and_which_were_likelier(row, token, count):
    options = DecodingOptions(logprobs=count)
    entry = entry_of(token, row, options)
    logprob, rank, likeliest = likelihood(entry, options)

    plain = np.where(np.isnan(row), -np.inf, row.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        plain = plain - plain.max() - np.log(np.exp(plain - plain.max()).sum())
    plain = np.maximum(np.where(np.isnan(plain), -np.inf, plain), LEAST)
    order = sorted(range(SIZE), key=lambda one: (-_number(row[one]), one))
    assert len(entry) == words_of_entry(options)
    assert logprob == pytest.approx(plain[token], rel=1e-6, abs=1e-6)
    assert order[rank - 1] == token
    assert [one for one, _ in likeliest] == order[:count]
    assert [its for _, its in likeliest] == pytest.approx(plain[order[:count]], rel=1e-6, abs=1e-6)


def _number(logit):
    return -np.inf if np.isnan(logit) else float(logit)


def test_a_vocabulary_may_have_fewer_tokens_than_are_asked_for():
    options = DecodingOptions(logprobs=20)
    found = likelihood(entry_of(1, np.array([1, 2, 3], np.float32), options), options)

    assert [token for token, _ in found.likeliest] == [2, 1, 0]


def test_who_asks_for_nothing_has_tokens_alone():
    assert entry_of(7, np.zeros(9, np.float32), DecodingOptions()) == (7,)
    assert entries_in(bytes([7, 0, 0, 0, 8, 0, 0, 0]), DecodingOptions()).tolist() == [[7], [8]]


@given(st.lists(st.integers(1, 43), max_size=5), st.integers(-2, 2))
def test_entries_of_several_answers_are_taken_apart_or_refused(lengths, more):
    words = list(range(max(0, sum(lengths) + more)))
    if len(words) != sum(lengths):
        with pytest.raises(ValueError, match="entries"):
            split(words, lengths)
        return

    found = split(words, lengths)
    assert [len(entry) for entry in found] == lengths
    assert list(itertools.chain(*found)) == words


@pytest.fixture(scope="module")
def open_version(versions):
    def opened(stages, slots, threads=1):
        directory = versions[stages]
        return Pipeline.open(directory, read_manifest(directory), slots, CAPACITY, threads)

    return opened


def _entries(model, answers, chunk=64):
    """The entries that come of *answers*, beside each other."""
    engine, found = Engine(model, (), chunk), {id(answer): [] for answer in answers}
    for answer in answers:
        engine.admit(answer)
    while not engine.is_idle:
        for new in engine.step():
            found[id(new.answer)].append(list(new.entry))
    return [found[id(answer)] for answer in answers]


@pytest.mark.parametrize("options", [PLAIN, CHANGED], ids=["greedy", "drawn"])
def test_they_are_those_of_the_plain_model_before_anything_changed_them(options, open_version):
    answer = Answer(list(PROMPT), options)
    (entries,) = _entries(open_version(2, 4), [answer])

    shape = tiny_language.Shape()
    reference = reference_of(shape, tiny_language.weights(shape))
    logits = reference.step([None] * shape.layers, [*PROMPT, *answer.log[:-1]], 0)
    logits = logits[len(PROMPT) - 1 :].astype(float)
    plain = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    found = [likelihood(entry, options) for entry in entries]
    assert [one.logprob for one in found] == pytest.approx(
        [row[token] for row, token in zip(plain, answer.log, strict=True)], abs=1e-3
    )
    for one, row in zip(found, plain, strict=True):
        best = np.sort(row)[::-1][:4]
        assert [its for _, its in one.likeliest] == pytest.approx(best, abs=1e-3)
        assert [row[token] for token, _ in one.likeliest] == pytest.approx(best, abs=1e-3)
    if options is PLAIN:
        assert {one.rank for one in found} == {1}


@pytest.mark.parametrize("options", [PLAIN, CHANGED], ids=["greedy", "drawn"])
def test_whoever_goes_on_tells_the_same_numbers_to_the_bit(options, open_version):
    """From any token on, in other stages and chunks, beside others that are not told of."""
    one, other = open_version(1, 1, threads=2), open_version(3, 4)
    (whole,) = _entries(one, [Answer(list(PROMPT), options)])

    for count in range(TOKENS):
        log = [entry[0] for entry in whole[:count]]
        beside = Answer([77], replace(CHANGED, logprobs=None))
        rest, _ = _entries(other, [Answer(list(PROMPT), options, log), beside], chunk=3)
        assert rest == whole[count:]


ECHO = {"greedy": replace(PLAIN, echo=True), "drawn": replace(CHANGED, echo=True)}
LONG = [*PROMPT, *range(60, 92)]


def _echoes(model, prompts, options):
    """The log of each answer, in words, beside one that tells of nothing."""
    engine, logs = Engine(model, ()), [[] for _ in prompts]
    answers = [Answer(list(prompt), options, caller="a") for prompt in prompts]
    for answer in (*answers, Answer([77], replace(CHANGED, logprobs=None))):
        engine.admit(answer)
    while not engine.is_idle:
        for new in engine.step():
            if new.answer in answers:
                logs[answers.index(new.answer)] += [*new.before, *new.entry]
    return logs


@pytest.mark.parametrize("options", ECHO.values(), ids=ECHO)
def test_a_prompts_tokens_are_told_of_as_the_plain_model_has_them(options, open_version):
    plain = _entries(open_version(1, 1), [Answer(list(LONG), replace(options, echo=False))])[0]
    (log,) = _echoes(open_version(2, 4), [LONG], options)
    entries = entries_in(np.array(log, "<u4").tobytes(), options)
    count = prompt_entries(options, len(LONG))

    shape = tiny_language.Shape()
    reference = reference_of(shape, tiny_language.weights(shape))
    logits = reference.step([None] * shape.layers, LONG[:-1], 0).astype(float)
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert entries[:count, 0].tolist() == LONG[1:]
    for entry, token, row in zip(entries, LONG[1:], expected, strict=False):
        found, best = likelihood_in(entry), np.sort(row)[::-1][:4]
        assert found.logprob == pytest.approx(row[token], abs=1e-3)
        assert [its for _, its in found.likeliest] == pytest.approx(best, abs=1e-3)
    # The answer itself is what it would be without, to the bit.
    assert entries[count:].tolist() == plain


@pytest.mark.parametrize("options", ECHO.values(), ids=ECHO)
def test_what_is_told_of_a_prompt_depends_on_nothing_else(options, open_version, versions):
    """In any stages, in one process or in a group, whatever runs beside it."""
    prompts = [LONG, PROMPT, [5], LONG[3:]]
    expected = [_echoes(open_version(1, 2), [prompt], options)[0] for prompt in prompts]

    assert _echoes(open_version(3, 4), prompts, options) == expected
    assert _echoes(Group(versions[3]).model(), prompts, options) == expected
    assert len(expected[2]) == TOKENS * words_of_entry(options)


def test_an_answer_whose_log_has_its_prompt_is_not_told_of_it_again(open_version):
    options = ECHO["greedy"]
    (whole,) = _echoes(open_version(1, 1), [LONG], options)
    entries = entries_in(np.array(whole, "<u4").tobytes(), options)
    log = entries[prompt_entries(options, len(LONG)) :, 0].tolist()
    rest = _entries(open_version(2, 1), [Answer(list(LONG), options, log[:3])])[0]

    assert rest == entries[prompt_entries(options, len(LONG)) + 3 :].tolist()


def test_one_that_is_evicted_before_its_first_token_is_told_of_all_of_it(open_version):
    options, model = ECHO["greedy"], open_version(1, 1)
    (expected,) = _echoes(model, [LONG], options)
    answer, engine = Answer(list(LONG), options), Engine(model, ())
    engine.admit(answer)
    engine.step()
    engine.evict(answer)
    engine.admit(answer)
    log = []
    while not engine.is_idle:
        for new in engine.step():
            log += [*new.before, *new.entry]

    assert log == expected


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(tiny_language.tokenizer()[0])


@given(st.text(max_size=20))
def test_bytes_of_tokens_are_those_of_their_text(tokenizer, text):
    spelling = Spelling(tokenizer)
    tokens = tokenizer.encode(text, special=False)

    contents = [spelling.bytes_of(token) for token in tokens]
    if None not in contents:
        assert b"".join(contents) == text.encode()


def test_tokens_that_are_no_text_have_a_name_and_no_bytes(tokenizer):
    spelling = Spelling(tokenizer)

    assert (spelling.bytes_of(0), spelling.text_of(0)) == (None, "<|end|>")
    half = tokenizer.encode("é", special=False)
    assert [spelling.bytes_of(token) for token in half] == [b"\xc3", b"\xa9"]
    assert spelling.text_of(half[0]) == "\ufffd"


def test_tokenizers_of_another_kind_have_bytes_as_well():
    """Those of Llama 2, whose spaces are letters and whose bytes are written in hexadecimal."""
    described = {
        "model": {
            "type": "BPE",
            "vocab": {"\u2581a": 0, "<0xE2>": 1, "Ġ": 2},
            "merges": [],
            "byte_fallback": True,
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
    }
    spelling = Spelling(Tokenizer.from_json(json.dumps({"version": "1.0", **described}).encode()))

    assert [spelling.bytes_of(token) for token in range(4)] == [b" a", b"\xe2", "Ġ".encode(), b""]
