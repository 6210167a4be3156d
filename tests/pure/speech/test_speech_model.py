"""Exported models of speech, in this process: token by token what plain numpy says."""

import numpy as np
import pytest
from support.speech import tiny_whisper
from support.speech.reference_whisper import ReferenceWhisper, rules_of
from support.speech.tiny_whisper import Shape

from penstock.errors import InvalidRequest
from penstock.exporting.export import Order, export
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.language.rebuild import Rebuild
from penstock.language.speech.tokens import prompt_of
from penstock.models.config.language_models import PrefixCaching
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.language.local import LocalModel
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.language.runtime import caches_prefixes

TOKENS = 24
SHAPES = {"of many languages": Shape(), "of English": Shape(multilingual=False, heads=2, seed=9)}
EVEN = 1e-3


def sounds(count, seconds=0.7, seed=1):
    """Noise that grows louder and softer, each of another length."""
    chance = np.random.default_rng(seed)
    lengths = [int(16000 * seconds) - 1500 * n for n in range(count)]
    return [
        (chance.normal(0, 0.2, n) * np.sin(np.arange(n) / (400 + 90 * n % 7))).astype(np.float32)
        for n in lengths
    ]


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def exported(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("speech")
    folder = tiny_whisper.write_folder(path / "checkpoint", request.param)
    manifest = export(folder, Order(path / "1"), lambda *_: None)
    return request.param, path / "1", manifest


def _answers(directory, prompts, audios, slots, **options):
    model = LocalModel.open(directory, slots, 64, threads=1)
    asked = DecodingOptions.of({"max_tokens": TOKENS, "ignore_end": True, **options})
    tokens, texts = [[] for _ in prompts], [""] * len(prompts)
    for piece in model.generate(prompts, asked, audios):
        tokens[piece.number].append(piece.token)
        texts[piece.number] += piece.text
    return tokens, texts


@pytest.mark.parametrize("timestamps", [False, True], ids=["words", "timestamps"])
def test_answers_are_those_of_plain_numpy(exported, timestamps):
    shape, directory, manifest = exported
    library = tiny_whisper.tokenizer(shape)
    reference = ReferenceWhisper(tiny_whisper.weights(shape), shape)
    rules = rules_of(shape, library, tiny_whisper.suppressed(shape))
    audios = sounds(4)
    begin = manifest.speech.begin

    found, texts = _answers(
        directory, [[begin]] * 4, audios, slots=3, timestamps=timestamps, logprobs=0
    )

    compared = 0
    for audio, answer in zip(audios, found, strict=True):
        heard = reference.hear(audio)
        logits = reference.logits(heard, [begin, *answer[:-1]])
        for at, token in enumerate(answer):
            may = rules.may(logits[at], answer[:at], timestamps=timestamps)
            allowed = np.full(len(logits[at]), -np.inf)
            allowed[sorted(may)] = logits[at][sorted(may)]
            second, best = np.sort(allowed)[-2:]
            if best - second > EVEN:
                assert token == allowed.argmax()
                compared += 1
    assert compared > 0.9 * TOKENS * 4
    # Each hears its own, and no text has what is no word.
    assert len({tuple(answer) for answer in found}) == 4
    assert all(texts)
    assert not any("<|" in text for text in texts)


def test_it_makes_no_difference_who_else_is_answered(exported):
    """Nor in which slot a prompt is read that has text from before."""
    _, directory, manifest = exported
    speech = manifest.speech
    audios, prompt = sounds(5), [speech.previous, *range(20), speech.begin]

    together, _ = _answers(directory, [prompt] * 5, audios, slots=3)
    alone = [_answers(directory, [prompt], [audio], slots=1)[0][0] for audio in audios]

    assert together == alone
    assert manifest.rebuild == "prefill"


def test_an_answer_that_is_rebuilt_from_its_log_goes_on_with_the_same_tokens(exported):
    _, directory, manifest = exported
    (audio,), prompt = sounds(1), [manifest.speech.begin]
    (whole,), _ = _answers(directory, [prompt], [audio], slots=1)

    for begin in (1, 2, 3, 11):
        pipeline = Pipeline.open(directory, manifest, 2, 64, threads=1)
        engine = Engine(pipeline, manifest.end_tokens)
        options = DecodingOptions.of({"max_tokens": TOKENS, "ignore_end": True})
        answer = Answer(list(prompt), options, whole[:begin], audio=audio)
        engine.admit(answer)
        while not engine.is_idle:
            engine.step()
        assert answer.log == whole


def test_a_slot_that_moves_takes_along_what_it_heard(exported):
    """The first of three is evicted: the last one has its slot from then on."""
    _, directory, manifest = exported
    audios, prompt = sounds(3), [manifest.speech.begin]
    expected, _ = _answers(directory, [prompt] * 3, audios, slots=3)
    engine = Engine(Pipeline.open(directory, manifest, 3, 64, threads=1), manifest.end_tokens)
    options = DecodingOptions.of({"max_tokens": TOKENS, "ignore_end": True})
    answers = [Answer(list(prompt), options, audio=audio) for audio in audios]
    for answer in answers:
        engine.admit(answer)
    while len(answers[2].log) < 4:
        engine.step()

    engine.evict(answers[0])
    while not engine.is_idle:
        engine.step()

    assert [answer.log for answer in answers[1:]] == expected[1:]


def test_one_sound_is_heard_in_a_step(exported):
    """However short their prompts: those that go on wait for one encoder at most."""
    _, directory, manifest = exported
    engine = Engine(Pipeline.open(directory, manifest, 3, 64, threads=1), manifest.end_tokens)
    options = DecodingOptions.of({"max_tokens": TOKENS, "ignore_end": True})
    answers = [Answer([manifest.speech.begin], options, audio=audio) for audio in sounds(3)]
    for answer in answers:
        engine.admit(answer)

    began = [sum(bool(answer.log) for answer in answers) for _ in range(3) if engine.step()]

    assert began == [1, 2, 3]


def test_prefixes_of_answers_about_other_sounds_are_not_reused():
    assert not caches_prefixes(Rebuild.PREFILL, PrefixCaching.ON, hears=True)
    assert caches_prefixes(Rebuild.PREFILL, PrefixCaching.ON, hears=False)


def test_folders_of_both_kinds_make_the_same_model(exported, tmp_path):
    shape, directory, _ = exported
    folder = tiny_whisper.write_ctranslate2(tmp_path / "f", shape)
    manifest = export(folder, Order(tmp_path / "1"), lambda *_: None)

    for name in ("shard-0.onnx", "shard-0.onnx.data", "encoder.onnx", "encoder.onnx.data"):
        assert (tmp_path / "1" / name).read_bytes() == (directory / name).read_bytes()
    # CTranslate2 does not say whether a model knows languages: its vocabulary does.
    assert manifest.speech.languages == {}
    assert manifest.speech.suppressed == read_manifest(directory).speech.suppressed


def test_without_audio_or_with_more_than_a_window_nothing_is_computed(exported):
    _, directory, manifest = exported
    prompt = [manifest.speech.begin]

    for audios in (None, [np.zeros(0, np.float32)], [np.zeros(16001, np.float32)]):
        with pytest.raises(InvalidRequest, match="this model hears 1 to 16000, 1 s at 16 kHz"):
            _answers(directory, [prompt], audios, slots=1)


def test_a_prompt_says_language_task_and_what_came_before(exported):
    shape, _, manifest = exported
    speech = manifest.speech

    def asked(language=None, task="transcribe", before=(), *, timestamps=False):
        return prompt_of(speech, language, task, before, 64, timestamps=timestamps)

    def named(*names):
        return [tiny_whisper.token(shape, f"<|{name}|>") for name in names]

    long = list(range(100))
    assert asked(before=long)[: -len(asked())] == [*named("startofprev"), *long[-31:]]
    if shape.multilingual:
        assert asked() == named("startoftranscript")
        assert asked("de") == named("startoftranscript", "de", "transcribe", "notimestamps")
        assert asked("de", "translate", timestamps=True) == named(
            "startoftranscript", "de", "translate"
        )
        with pytest.raises(InvalidRequest, match="the model knows de, en, fr"):
            asked("xx")
        with pytest.raises(InvalidRequest, match="needs the option language"):
            asked(task="translate")
        return
    assert asked("en") == named("startoftranscript", "notimestamps")
    assert asked(timestamps=True) == named("startoftranscript")
    for given in ({"language": "de"}, {"task": "translate", "language": "en"}):
        with pytest.raises(InvalidRequest, match="English alone"):
            asked(**given)
