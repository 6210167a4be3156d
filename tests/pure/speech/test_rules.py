"""Which tokens may come: held against rules that are written down once more, and by hand."""

import numpy as np
import pytest
from support.speech import tiny_whisper
from support.speech.reference_whisper import rules_of
from support.speech.tiny_whisper import Shape

from penstock.gateway.requests.language.transcripts import Joining
from penstock.language.speech.rules import Rules
from penstock.language.speech.segments import as_srt, as_vtt, segments_of
from penstock.language.speech.tokens import Speech

SHAPES = {"of many languages": Shape(), "of English": Shape(multilingual=False)}


def _speech(shape):
    def token(name):
        return tiny_whisper.token(shape, f"<|{name}|>")

    languages = {code: token(code) for code in ("en", "de", "fr")} if shape.multilingual else {}
    never, never_first = tiny_whisper.suppressed(shape)
    return Speech(
        *("encoder.onnx", 1, 80, shape.positions),
        *map(token, ("startoftranscript", "startofprev", "transcribe", "translate")),
        token("notimestamps"),
        languages,
        tuple(never),
        tuple(never_first),
    )


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("timestamps", [False, True], ids=["words", "timestamps"])
def test_whatever_was_said_the_same_may_follow(shape, timestamps):
    """Logs that come about by these rules, and how likely tokens are by chance."""
    library, chance = tiny_whisper.tokenizer(shape), np.random.default_rng(8)
    speech, count = _speech(shape), library.get_vocab_size()
    rules, plain = (
        Rules(speech, count),
        rules_of(shape, library, tiny_whisper.suppressed(shape)),
    )
    times = 0
    for _ in range(40):
        said = []
        for _ in range(20):
            logits = chance.normal(0, 3, count).astype(np.float32)
            # Sometimes a time is likelier than any word, or a word than all times.
            logits[speech.first_timestamp :] += chance.choice([-6, 0, 2])
            logits[speech.end] += chance.choice([0, 9])
            found = rules.masked(logits, [speech.begin], said, timestamps=timestamps)
            may = sorted(plain.may(logits.astype(float), said, timestamps=timestamps))
            assert np.flatnonzero(np.isfinite(found)).tolist() == may
            assert np.array_equal(found[may], logits[may])
            said.append(int(found.argmax()))
            times += said[-1] >= speech.first_timestamp
    assert (times > 100) == timestamps


def test_a_prompt_without_its_beginning_has_no_head():
    shape = Shape()
    speech, count = _speech(shape), tiny_whisper.tokenizer(shape).get_vocab_size()
    found = Rules(speech, count).masked(np.zeros(count, np.float32), [5], [], timestamps=False)

    assert np.isfinite(found[: speech.end]).sum() > 200
    assert not np.isfinite(found[speech.begin :]).any()


def _at(speech, *tokens):
    """Tokens, and times as (seconds,)."""
    return [
        speech.first_timestamp + round(one[0] / 0.02) if isinstance(one, tuple) else one
        for one in tokens
    ]


def test_segments_are_what_is_between_times():
    speech = _speech(Shape())
    answer = _at(speech, 300, (0.1,), 5, 6, (0.5,), (0.5,), (0.6,), 7, (0.98,), (0.98,), 8, 9)
    found = list(segments_of(speech, str, answer, 60.0, 0.9))

    assert [(one.begin_s, one.end_s, one.text, one.places) for one in found] == [
        (60.1, 60.5, "[5, 6]", (1, 5)),
        (60.6, 60.9, "[7]", (6, 9)),
        (60.9, 60.9, "[8, 9]", (9, 12)),
    ]


def test_texts_of_windows_are_joined_the_same_however_they_come():
    texts = [" a b ", "  ", "c  d", "", " e \n"]
    chance = np.random.default_rng(2)
    for _ in range(50):
        joining, said = Joining(), ""
        for window, text in enumerate(texts):
            cuts = sorted(chance.integers(0, len(text) + 1, 3).tolist())
            for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
                said += joining.push(window, text[begin:end])
        assert said == "a b c  d e"


def test_subtitles_have_clocks_of_their_kind():
    speech = _speech(Shape())
    answer = _at(speech, (0.0,), 5, (0.5,), (0.52,), 7, (0.98,))
    found = list(segments_of(speech, lambda words: f" a-->{words[0]}", answer, 3661.0, 1.0))

    assert as_srt(found) == (
        "1\n01:01:01,000 --> 01:01:01,500\na-->5\n\n2\n01:01:01,520 --> 01:01:01,980\na-->7\n"
    )
    assert as_vtt(found) == (
        "WEBVTT\n\n01:01:01.000 --> 01:01:01.500\na->5\n\n01:01:01.520 --> 01:01:01.980\na->7\n"
    )
