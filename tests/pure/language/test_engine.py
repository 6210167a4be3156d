"""The engine on a tiny exported model: an answer is the same whatever happens beside it."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import tiny_language

from penstock.errors import ArtifactUnusable, InvalidRequest
from penstock.exporting.export import Order, export
from penstock.language.finish import Finish
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.language.rebuild import Rebuild
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.language.pipeline import Pipeline

SLOTS, CAPACITY, TOKENS = 4, 64, 12
PROMPTS = [[9, 80, 33], [77], list(range(100, 140)), [5, 5, 5, 9, 9, 200, 31]]
GREEDY = DecodingOptions(max_tokens=TOKENS, ignore_end=True)
DRAWN = DecodingOptions(
    max_tokens=TOKENS, ignore_end=True, temperature=1.3, top_p=0.95, seed=3, presence_penalty=0.5
)


@pytest.fixture(scope="module")
def version(versions):
    return versions[2]


@pytest.fixture(scope="module")
def model(version):
    return Pipeline.open(version, read_manifest(version), SLOTS, CAPACITY, threads=1)


@pytest.fixture(scope="module")
def alone(model):
    """(prompt, options) -> the answer's tokens, when nothing else runs."""
    found = {}
    for options in (GREEDY, DRAWN):
        for number, prompt in enumerate(PROMPTS):
            answer = Answer(list(prompt), options)
            engine = Engine(model, ())
            engine.admit(answer)
            _run(engine)
            found[number, options.temperature] = answer.log
    return found


def _run(engine: Engine) -> list:
    brought = []
    while not engine.is_idle:
        brought += engine.step()
    return brought


asked: st.SearchStrategy[Sequence] = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([GREEDY, DRAWN]), st.integers(0, 15)),
    min_size=1,
    max_size=7,
)


evicted_at = st.dictionaries(st.integers(1, 25), st.integers(0, 3), max_size=5)


@settings(max_examples=40, deadline=None)
@given(asked, st.integers(1, 50), evicted_at)
def test_an_answer_depends_on_nothing_but_its_request(model, alone, asked, chunk, evictions):
    """Whatever runs beside it, in whatever chunks, and however often it is evicted on its way."""
    engine = Engine(model, (), chunk)
    coming = sorted(
        ((at, Answer(list(PROMPTS[number]), options), number) for number, options, at in asked),
        key=lambda one: one[0],
    )
    answers = [(answer, number) for _, answer, number in coming]
    step = 0
    while coming or not engine.is_idle:
        while coming and (coming[0][0] <= step or engine.is_idle):
            engine.admit(coming.pop(0)[1])
        engine.step()
        step += 1
        running = [one for one, _ in answers if one.cached and len(one.log) < TOKENS]
        if running and step in evictions:
            # As when its worker dies, or it is preempted: another begins with prompt and log.
            evicted = running[evictions[step] % len(running)]
            engine.evict(evicted)
            engine.admit(evicted)

    for answer, number in answers:
        assert answer.log == alone[number, answer.options.temperature]


def test_an_answer_goes_on_elsewhere_from_any_token_of_its_log(alone, version):
    other = Pipeline.open(version, read_manifest(version), 1, CAPACITY, threads=2)
    for options in (GREEDY, DRAWN):
        whole = alone[3, options.temperature]
        for count in range(TOKENS):
            answer = Answer(list(PROMPTS[3]), options, log=whole[:count])
            engine = Engine(other, (), chunk=5)
            engine.admit(answer)
            _run(engine)

            assert answer.log == whole


def test_a_long_prompt_holds_up_nobody(model):
    engine = Engine(model, (), chunk=8)
    short = Answer([7], GREEDY)
    engine.admit(short)
    engine.step()
    engine.admit(Answer(PROMPTS[2], GREEDY))

    tokens = [[new.answer is short for new in engine.step()] for _ in range(5)]

    assert tokens == [[True]] * 4 + [[True, False]]


class Chunky:
    """A model whose cache depends on the chunks in which it was filled, and on nothing else.

    Attributes:
        read_in: (begin, end) of each call that filled it.
    """

    def __init__(self, model):
        self._model = model
        self.read_in = []

    def read(self, slot, answer, begin, end):
        self.read_in.append((begin, end))
        if end - begin > 1:
            # The last of a chunk is read as another token.
            answer = Answer([*answer.prompt, *answer.log], answer.options)
            answer.prompt[end - 1] = (answer.prompt[end - 1] + end - begin) % 200
        self._model.read(slot, answer, begin, end)

    def __getattr__(self, name):
        return getattr(self._model, name)


def test_a_replayed_answer_goes_on_where_the_cache_depends_on_chunks(model):
    """Its prompt is read in the chunks of its first life, and its log token by token."""
    prompt = [*PROMPTS[3], *range(50, 60)]
    chunky = Chunky(model)
    engine = Engine(chunky, (), chunk=5, rebuild=Rebuild.REPLAY)
    first = Answer(prompt, GREEDY)
    engine.admit(first)
    _run(engine)
    assert chunky.read_in == [(0, 5), (5, 10), (10, 15), (15, 16)]

    differs = 0
    for count in range(1, TOKENS):
        found = {}
        for rebuild in (Rebuild.REPLAY, Rebuild.PREFILL):
            chunky.read_in.clear()
            engine = Engine(chunky, (), chunk=5, rebuild=rebuild)
            engine.admit(Answer([7], GREEDY))
            found[rebuild] = Answer(prompt, GREEDY, log=first.log[:count])
            engine.admit(found[rebuild])
            _run(engine)
            if rebuild is Rebuild.REPLAY:
                alone = [(at, at + 1) for at in range(16, 16 + count)]
                assert chunky.read_in == [(0, 5), (5, 10), (10, 15), (15, 16), *alone]
        assert found[Rebuild.REPLAY].log == first.log
        differs += found[Rebuild.PREFILL].log != first.log
    assert differs


def test_a_replay_holds_up_nobody(model):
    engine = Engine(model, (), rebuild=Rebuild.REPLAY)
    other = Answer([7], GREEDY)
    engine.admit(other)
    engine.step()
    engine.admit(Answer([5], GREEDY, log=[9] * (TOKENS - 1)))

    tokens = [[new.answer is other for new in engine.step()] for _ in range(3)]

    assert tokens == [[True]] * 2 + [[True, False]]


def test_end_tokens_end_an_answer_and_are_its_last_token(model, alone):
    whole = alone[0, 0.0]
    end = next(token for token in whole[2:] if token not in whole[:2])
    answer = Answer(list(PROMPTS[0]), DecodingOptions(max_tokens=TOKENS))
    engine = Engine(model, (end,))
    engine.admit(answer)
    brought = _run(engine)

    assert answer.log == whole[: whole.index(end) + 1]
    assert brought[-1].finish is Finish.STOP


def test_the_end_of_the_context_ends_an_answer(model):
    answer = Answer(list(range(100, 100 + CAPACITY - 3)), DecodingOptions(ignore_end=True))
    engine = Engine(model, ())
    engine.admit(answer)
    brought = _run(engine)

    assert [new.finish for new in brought] == [None, None, Finish.LENGTH]
    assert answer.length == CAPACITY


def test_more_answers_than_slots_wait_and_all_are_answered(model, alone):
    engine = Engine(model, ())
    answers = [Answer(list(PROMPTS[n % 4]), GREEDY) for n in range(9)]
    for answer in answers:
        engine.admit(answer)

    assert engine.room == SLOTS - 9
    _run(engine)
    assert [answer.log for answer in answers] == [alone[n % 4, 0.0] for n in range(9)]
    assert engine.room == SLOTS


@pytest.mark.parametrize(("prompt", "message"), [([], "empty"), ([1] * CAPACITY, "room for 64")])
def test_a_prompt_that_has_no_room_is_refused(prompt, message, model):
    with pytest.raises(InvalidRequest, match=message):
        Engine(model, ()).admit(Answer(prompt, GREEDY))


def test_a_cache_has_keys_and_values_of_each_token_in_each_slot(model):
    layers, kv_heads, head_size = 3, 2, 8

    assert model.cache_bytes == SLOTS * CAPACITY * 2 * 4 * layers * kv_heads * head_size
    assert model.cache_bytes == sum(array.nbytes for array in model.cached(0, CAPACITY)) * SLOTS


def test_stages_of_another_model_are_not_loaded(version, tmp_path):
    """Caches are bound by their addresses: a graph of another shape would write beyond them."""
    folder = tiny_language.write_folder(tmp_path / "f", tiny_language.Shape(head_size=16))
    export(folder, Order(tmp_path / "1", 2), lambda *_: None)

    with pytest.raises(ArtifactUnusable, match=r"shard-0\.onnx is not the stage"):
        Pipeline.open(tmp_path / "1", read_manifest(version), SLOTS, CAPACITY, threads=1)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 2}'])
def test_a_manifest_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "language.json").write_text(text)

    with pytest.raises(ArtifactUnusable, match="export the model again"):
        read_manifest(tmp_path)
