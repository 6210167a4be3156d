"""Checkpoints of speech that lie, are cut off, or have something else: refused by name."""

import json
import struct

import numpy as np
import pytest
from support.speech import tiny_whisper
from support.speech.tiny_whisper import Shape

from penstock.exporting.checkpoints.opening import open_checkpoint
from penstock.exporting.errors import CannotExport, Damaged, Unsupported
from penstock.exporting.export import Order, export
from penstock.exporting.graphs.matrices import Weights


@pytest.fixture
def folder(tmp_path):
    return tiny_whisper.write_folder(tmp_path / "folder")


@pytest.fixture
def other(tmp_path):
    """CTranslate2's."""
    return tiny_whisper.write_ctranslate2(tmp_path / "other")


def _with(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def _export(folder, **order):
    return export(folder, Order(folder / "1", **order), lambda *_: None)


def test_two_stages_are_refused(folder):
    with pytest.raises(CannotExport, match="one stage: ask for --stages 1"):
        _export(folder, stages=2)

    assert not (folder / "1").exists()


def test_weights_of_few_bits_are_refused(folder):
    with pytest.raises(CannotExport, match="stay fp32: leave --weights out"):
        _export(folder, weights=Weights.INT8)

    assert not (folder / "1").exists()


@pytest.mark.parametrize(
    ("file", "fields", "said"),
    [
        ("config.json", {"activation_function": "relu"}, "activation_function is 'relu'"),
        ("config.json", {"scale_embedding": True}, "scale_embedding"),
        ("config.json", {"tie_word_embeddings": False}, "not the table of the embeddings"),
        ("config.json", {"d_model": 30}, "width must be a multiple"),
        ("config.json", {"encoder_layers": 0}, "encoder_layers is 0"),
        ("config.json", {"decoder_layers": "two"}, "decoder_layers is 'two'"),
        ("config.json", {"encoder_layers": 3}, "lacks the tensor model.encoder.layers.2."),
        ("config.json", {"max_source_positions": 49}, "should have .49, 32"),
        ("preprocessor_config.json", {"hop_length": 128}, "hop_length is 128"),
        ("preprocessor_config.json", {"feature_size": 128}, "feature_size is 128"),
        ("generation_config.json", {"suppress_tokens": "all"}, "suppress_tokens is no list"),
    ],
)
def test_what_the_graphs_would_compute_without_is_refused(file, fields, said, folder):
    _with(folder / file, **fields)

    with pytest.raises(CannotExport, match=said):
        open_checkpoint(folder)


def test_weights_that_are_pickles_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(CannotExport, match="is a pickle"):
        open_checkpoint(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace("<|notimestamps|>", "<|notimes|>"))

    with pytest.raises(CannotExport, match=r"no token <\|notimestamps\|>"):
        _export(folder)


def test_tokens_in_another_order_are_refused(folder):
    text = (folder / "tokenizer.json").read_text()
    for one, other in (
        ("<|notimestamps|>", "<|x|>"),
        ("<|startofprev|>", "<|notimestamps|>"),
        ("<|x|>", "<|startofprev|>"),
    ):
        text = text.replace(one, other)
    (folder / "tokenizer.json").write_text(text)

    with pytest.raises(CannotExport, match="in another order than Whisper's"):
        _export(folder)


def test_a_context_that_is_asked_for_is_that_of_the_version(folder):
    assert _export(folder, context=32).context == 32


def test_an_export_of_another_kind_leaves_no_encoder(folder, tmp_path):
    from support.models import tiny_language

    _export(folder)
    export(tiny_language.write_folder(tmp_path / "f"), Order(folder / "1"), lambda *_: None)

    assert not list((folder / "1").glob("encoder*"))


# CTranslate2


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.9999])
def test_a_file_that_is_cut_off_is_damaged(share, other):
    path = other / "model.bin"
    content = path.read_bytes()
    path.write_bytes(content[: max(18, int(len(content) * share))])

    with pytest.raises(Damaged, match="copy or download it again"):
        open_checkpoint(other)


@pytest.mark.parametrize("count", [1 << 15, (1 << 32) - 1])
def test_a_count_that_lies_is_damage(count, other):
    path = other / "model.bin"
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 22, count)
    path.write_bytes(bytes(content))

    with pytest.raises(Damaged, match=f"it says that it has {count} tensors"):
        open_checkpoint(other)


@pytest.mark.parametrize("size", [0, 32 * 80 * 3, (1 << 32) - 1])
def test_a_tensor_that_says_another_size_is_damage(size, other):
    path, name = other / "model.bin", b"encoder/conv1/weight\0"
    content = bytearray(path.read_bytes())
    # Behind the name: how many dimensions, these, and the kind.
    struct.pack_into("<I", content, content.index(name) + len(name) + 1 + 3 * 4 + 1, size)
    path.write_bytes(bytes(content))

    with pytest.raises(Damaged, match="encoder/conv1/weight has not the size that it says"):
        open_checkpoint(other)


def test_weights_of_eight_bits_are_refused(tmp_path):
    folder = tiny_whisper.write_ctranslate2(tmp_path / "f", kind=1)

    with pytest.raises(Unsupported, match="no float16 or float32: convert the model"):
        _export(folder)


@pytest.mark.parametrize(
    ("name", "value"), [("activation", 1), ("alibi", 1), ("pre_norm", 0), ("scale_embeddings", 1)]
)
def test_a_decoder_that_computes_otherwise_is_refused(name, value, tmp_path):
    folder = tiny_whisper.write_ctranslate2(tmp_path / "f", **{name: value})

    with pytest.raises(Unsupported, match=f"decoder/{name} is {value}"):
        open_checkpoint(folder)


def test_a_head_of_its_own_is_refused(tmp_path):
    folder = tiny_whisper.write_ctranslate2(tmp_path / "f", **{"projection/weight": 0})

    with pytest.raises(Unsupported, match="not the table of the embeddings"):
        open_checkpoint(folder)


def test_floats_of_32_bits_are_the_same_weights(other, tmp_path):
    folder = tiny_whisper.write_ctranslate2(tmp_path / "f", kind=0)
    one, two = open_checkpoint(other), open_checkpoint(folder)
    name = "model.decoder.layers.1.encoder_attn.v_proj.weight"

    assert np.array_equal(one.read(name), two.read(name))
    assert np.array_equal(one.read(name), tiny_whisper.weights(Shape())[name])


def test_hostile_bytes_anywhere_never_crash(other):
    path, chance = other / "model.bin", np.random.default_rng(5)
    content, refused = path.read_bytes(), 0
    for _ in range(200):
        changed = bytearray(content)
        for at in chance.integers(18, 4000, 4):
            changed[at] = chance.integers(256)
        path.write_bytes(bytes(changed))
        try:
            open_checkpoint(other)
        except CannotExport:
            refused += 1
    assert refused > 0
