"""The judge of answers that a GPU computed: it lets through what a device may do, and no more."""

import numpy as np
import pytest
from support.clients.answers import Answer
from support.language.devices import CPU
from support.language.judging import (
    TOLERANCE,
    Held,
    Judge,
    NotThose,
    expect_force,
    held,
    without_rounding,
)
from support.models import tiny_language
from support.models.language_versions import SHAPE

from penstock.exporting.export import Order, export
from penstock.exporting.graphs.matrices import Weights
from penstock.language.manifest import read_manifest
from penstock.language.tokenizer import Tokenizer
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.language.stage import Stage

PROMPT, TOKENS = "hello", 30


@pytest.fixture(scope="module")
def judge(versions):
    return Judge(versions[1])


@pytest.fixture(scope="module")
def rows_of(versions):
    """A stage computes tokens one by one, as a worker does."""
    directory = versions[1]
    stage = Stage.open(directory, read_manifest(directory), 0, (1, 128), CPU)
    prompt = Tokenizer.read(directory).encode(PROMPT, special=True)

    def made(change):
        tokens, rows, nowhere = [], [], np.array([[0, 0]])
        for place in range(len(prompt) + TOKENS - 1):
            token = [*prompt, *tokens][place]
            (row,) = stage.step(np.array([[token]]), np.array([place]), nowhere)
            if place >= len(prompt) - 1:
                row = change(row.astype(np.float64), len(tokens))
                rows.append(row)
                tokens.append(int(row.argmax()))
        return tokens, rows

    return made


def _answer(tokens, rows):
    likely = [row[t] - np.log(np.exp(row).sum()) for t, row in zip(tokens, rows, strict=True)]
    told = [{str(t): {"logprob": one}} for t, one in zip(tokens, likely, strict=True)]
    return Answer(tokens=tokens, logprobs=told)


def _as_it_is(row, _place):
    return row


def test_the_same_model_passes_also_with_other_last_bits(judge, rows_of):
    chance = np.random.default_rng(1)

    for change in (_as_it_is, lambda row, _: row + chance.normal(0, 1e-4, row.shape)):
        found = judge.hold(PROMPT, [_answer(*rows_of(change))])
        assert found.tokens == TOKENS
        assert expect_force([found]) == found


@pytest.mark.parametrize("wrong_at", [0, 1, TOKENS - 1])
def test_one_token_that_is_not_the_best_is_seen(judge, rows_of, wrong_at):
    def second(row, place):
        if place == wrong_at:
            row[row.argmax()] = -np.inf
        return row

    with pytest.raises(NotThose, match="behind the best"):
        judge.hold(PROMPT, [_answer(*rows_of(second))])


def test_the_right_tokens_with_other_numbers_are_seen(judge, rows_of):
    """A cache of zeros often gives the same tokens in small models, and never the same numbers."""
    with pytest.raises(NotThose, match="off by"):
        judge.hold(PROMPT, [_answer(*rows_of(lambda row, _: row * 1.01))])


def test_of_rounded_weights_the_judge_rounds_nothing_else(tmp_path):
    folder = tiny_language.write_folder(tmp_path / "f", SHAPE)
    export(folder, Order(tmp_path / "1", weights=Weights.INT8), lambda *_: None)
    columns, rows = np.arange(20)[None], np.stack([np.zeros(20, int), np.arange(20)], axis=1)

    def logits(directory):
        model = Pipeline.open(directory, read_manifest(directory), 1, 64, threads=1)
        return model.step(columns, np.zeros(1, np.int64), rows)

    apart = np.abs(logits(without_rounding(tmp_path / "1")) - logits(tmp_path / "1")).max()

    assert TOLERANCE < apart < 1


def test_numbers_that_are_none_are_seen():
    rows = np.array([[0.0, 1.0, 3.0]])

    with pytest.raises(NotThose):
        held([2], [np.nan], rows)
    with pytest.raises(NotThose):
        held([2], [0.0], rows * np.nan)


def test_answers_that_are_too_short_or_empty_are_seen():
    rows = np.array([[0.0, 1.0], [1.0, 0.0]])

    with pytest.raises(NotThose, match="1 tokens, 1 numbers and 2 rows"):
        held([1], [-0.3], rows)
    with pytest.raises(NotThose):
        held([], [], rows[:0])


def test_where_anything_would_pass_nothing_is_shown():
    assert expect_force([Held(90, 4), Held(10, 5)]) == Held(100, 9)
    with pytest.raises(NotThose, match="11 of 100"):
        expect_force([Held(90, 1), Held(10, 10)])
