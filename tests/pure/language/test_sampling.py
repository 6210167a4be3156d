import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from penstock.errors import InvalidRequest
from penstock.language.options import DecodingOptions
from penstock.language.sampling import _candidates, next_token, uniform

SIZE = 50


def row_of(drawn):
    """Logits from -20 to 20: of a byte each, where many are equal, or of two."""
    kind = np.int8 if len(drawn) == SIZE else np.int16
    return (np.frombuffer(drawn, kind) * (-20 / np.iinfo(kind).min)).astype(np.float32)


# One thing to draw, instead of as many as there are tokens.
rows = st.one_of(*(st.binary(min_size=n, max_size=n) for n in (SIZE, 2 * SIZE))).map(row_of)
tokens = st.lists(st.integers(0, SIZE - 1), max_size=12)
drawing = st.fixed_dictionaries(
    {"temperature": st.floats(0.05, 5), "seed": st.integers(0, 2**64 - 1)},
    optional={
        "top_k": st.integers(0, SIZE + 5),
        "top_p": st.floats(0.01, 1),
        "min_p": st.floats(0, 1),
        "repetition_penalty": st.floats(0.5, 2),
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
        "logit_bias": st.dictionaries(st.integers(0, SIZE + 9), st.floats(-100, 100), max_size=4),
    },
).map(DecodingOptions.of)


@given(rows, drawing, tokens, tokens)
def test_a_token_follows_from_the_request_and_the_log_alone(row, options, prompt, log):
    again = next_token(row.copy(), options, list(prompt), list(log))

    assert next_token(row, options, prompt, log) == again
    assert 0 <= again < SIZE


@given(rows, drawing, tokens)
def test_nothing_beyond_top_k_and_min_p_is_drawn(row, options, log):
    plain = DecodingOptions(temperature=options.temperature, top_k=5, min_p=0.1, seed=options.seed)
    token = next_token(row, plain, (), log)
    shares = np.exp((row.astype(float) - row.max()) / plain.temperature)

    assert np.count_nonzero(row > row[token]) < 5
    assert shares[token] >= 0.1 * (1 - 1e-9)


may = st.sets(st.integers(0, SIZE - 1), min_size=1).map(lambda some: np.array(sorted(some)))


@given(rows, drawing, tokens, may, st.sets(st.integers(0, SIZE - 1)))
def test_only_tokens_that_may_come_do(row, options, log, allowed, lost):
    """Also where the others are likelier, and some of the logits are no numbers."""
    row[list(lost)] = np.nan
    row[allowed] -= 100
    greedy = DecodingOptions(presence_penalty=options.presence_penalty)

    for one in (options, greedy, DecodingOptions()):
        assert next_token(row, one, (), log, allowed) in allowed


@given(rows, drawing, tokens, tokens)
def test_where_all_tokens_may_come_the_same_one_is_drawn(row, options, prompt, log):
    token = next_token(row, options, prompt, log)

    assert next_token(row, options, prompt, log, np.arange(SIZE)) == token


@given(rows, tokens)
def test_temperature_0_takes_the_likeliest_and_of_equal_ones_the_first(row, log):
    assert next_token(row, DecodingOptions(), (), log) == int(np.argmax(row))
    penalized = DecodingOptions(presence_penalty=1e-9)
    assert next_token(row, penalized, (), []) == int(np.argmax(row))


@given(rows, st.integers(0, SIZE - 1), drawing)
def test_a_token_that_must_not_come_does_not(row, token, options):
    banned = DecodingOptions(temperature=options.temperature, seed=options.seed)
    row[token] = -np.inf

    assert all(next_token(row, banned, (), [1] * n) != token for n in range(20))


def test_numbers_that_are_none_win_nowhere():
    row = np.array([np.nan, 1, np.nan, 3, -np.inf], np.float32)

    assert next_token(row, DecodingOptions(), (), ()) == 3
    drawn = {next_token(row, DecodingOptions(temperature=9, seed=n), (), ()) for n in range(50)}
    assert drawn == {1, 3}


def test_draws_follow_the_probabilities():
    """A chi-squared test over 4,000 positions of one seed."""
    row = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))
    options = DecodingOptions(temperature=1.0, seed=11)
    log = []
    for _ in range(4000):
        log.append(next_token(row, options, (), log))
    counts = np.bincount(log, minlength=4)
    expected = np.array([2000, 1000, 600, 400])

    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # 3 degrees of freedom, p = 0.001


def test_top_p_takes_as_many_as_are_needed_and_one_at_least():
    row = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    found = {
        share: {
            next_token(row, DecodingOptions(temperature=1, top_p=share, seed=n), (), ())
            for n in range(200)
        }
        for share in (0.01, 0.6, 0.9)
    }

    assert found == {0.01: {0}, 0.6: {0, 1}, 0.9: {0, 1, 2}}


@example(np.array([*[0] * (SIZE - 1), 3.8e-36], np.float32), 0.25, 0, 0.0, 1.0)
@given(rows, st.floats(0.05, 0.99), st.integers(0, SIZE), st.floats(0, 0.5), st.floats(0.2, 3))
def test_what_may_be_drawn_is_what_sorting_all_would_leave(row, top_p, top_k, min_p, temperature):
    options = DecodingOptions(top_p=top_p, top_k=top_k, min_p=min_p)
    scores = row.astype(float) / temperature
    order = np.argsort(-scores, kind="stable")[: top_k or SIZE]
    weights = np.exp(scores[order] - scores.max())
    reached = np.cumsum(weights) / weights.sum()
    # Where rounding decides whether it is reached, either will do.
    assume(np.abs(reached - top_p).min() > 1e-9)
    keep = min(int((reached < top_p).sum()) + 1, int((weights >= min_p).sum()))

    tokens, found = _candidates(scores, options)

    assert tokens.tolist() == order[:keep].tolist()
    assert np.array_equal(found, weights[:keep])


def test_penalties_are_those_of_openai_and_of_ctrl():
    row = np.array([2.0, 2.5, -1.0, 0.0], np.float32)
    likeliest = DecodingOptions.of

    assert next_token(row, likeliest({"presence_penalty": 1.0}), (), [1]) == 0
    assert next_token(row, likeliest({"presence_penalty": 1.0}), [1], ()) == 1
    assert next_token(row, likeliest({"frequency_penalty": 0.2}), (), [1, 1, 1]) == 0
    assert next_token(row, likeliest({"frequency_penalty": 0.2}), (), [1, 1]) == 1
    assert next_token(row, likeliest({"repetition_penalty": 1.5}), [1], ()) == 0
    assert next_token(row, likeliest({"logit_bias": {"3": 3.0}}), (), ()) == 3


def _philox(key, counter):
    """The first word of Philox4x64-10, written down from the paper; key and counter below 2**64."""
    words, keys = [counter, 0, 0, 0], [key, 0]
    for _ in range(10):
        one, two = 0xD2E7470EE14C6C93 * words[0], 0xCA5A826395121157 * words[2]
        high, low = 64, 2**64
        words = [
            (two >> high) ^ words[1] ^ keys[0],
            two % low,
            (one >> high) ^ words[3] ^ keys[1],
            one % low,
        ]
        keys = [(keys[0] + 0x9E3779B97F4A7C15) % low, (keys[1] + 0xBB67AE8584CAA73B) % low]
    return words[0]


def test_the_generator_is_philox_as_published():
    assert _philox(0, 0) == 0x16554D9ECA36314C  # the authors' own test vector


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**24))
def test_what_is_drawn_is_the_same_in_every_release(seed, position):
    assert uniform(seed, position) == (_philox(seed, position + 1) >> 11) / 2**53


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"temprature": 1}, "unknown option 'temprature'"),
        ({"temperature": -1}, "temperature must be a number, at least 0"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"temperature": True}, "temperature must be a number"),
        ({"top_p": 0}, "top_p must be a number, more than 0"),
        ({"top_k": 1.5}, "top_k must be an integer"),
        ({"seed": 2**64}, "seed must be an integer"),
        ({"max_tokens": 0}, "max_tokens must be an integer from 1"),
        ({"stop": [""]}, "stop must be texts of 1"),
        ({"stop": ["a"] * 17}, "a list of at most 16"),
        ({"logit_bias": {"x": 1}}, "logit_bias must be an integer"),
        ({"logit_bias": {"1": 101}}, "logit_bias must be a number"),
        ({"stop_tokens": [-1]}, "stop_tokens must be an integer"),
        ({"ignore_end": 1}, "ignore_end must be true or false"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(asked, message):
    with pytest.raises(InvalidRequest, match=message):
        DecodingOptions.of(asked)


def test_a_request_without_a_seed_gets_one_and_one_with_keeps_it():
    assert DecodingOptions.of({}).seeded(lambda: 5).seed == 5
    assert DecodingOptions.of({"seed": 0}).seeded(lambda: 5).seed == 0
