"""ONNX exports that lie, are cut off, or lead elsewhere: refused, before anything large."""

import json
import os
import random
import shutil
import tracemalloc

import pytest
from support.exports.originals import changed, with_json

from penstock.exporting.checkpoints.opening import open_checkpoint
from penstock.exporting.errors import CannotExport, Damaged, Unsupported

MEMORY_BYTES = 96 << 20
"""A configuration may have two thirds of it."""


# files


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_damaged(share, optimum):
    path = optimum / "model.onnx"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    with pytest.raises(CannotExport):
        open_checkpoint(optimum)


@pytest.mark.parametrize("content", [b"PK\3\4" + bytes(100), b"\xff" * 64, b"\x3a\xff\xff\xff\x0f"])
def test_a_file_that_is_no_onnx_is_damaged(content, optimum):
    (optimum / "model.onnx").write_bytes(content)

    with pytest.raises(Damaged, match=r"model\.onnx is damaged"):
        open_checkpoint(optimum)


@pytest.mark.parametrize("name", ["genai-llama", "optimum-qwen3"])
def test_hostile_bytes_anywhere_never_crash(name, copied):
    """Whatever is changed, it is read, or refused with a reason; nothing else happens."""
    folder = copied(name)
    path, chance = folder / "model.onnx", random.Random(5)  # noqa: S311
    content, refused = path.read_bytes(), 0
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 2, 8))):
            changed[chance.randrange(len(content))] = chance.choice((0, 1, 0x7F, 0xFF))
        path.write_bytes(changed)
        try:
            open_checkpoint(folder)
        except CannotExport:
            refused += 1

    assert refused > 30


def test_hostile_operations_never_crash(genai):
    """Attributes and inputs exchanged for others: as above."""
    whole, chance, refused = (genai / "model.onnx").read_bytes(), random.Random(6), 0  # noqa: S311
    for _ in range(150):
        (genai / "model.onnx").write_bytes(whole)

        def change(graph):
            one, other = chance.choice(graph.node), chance.choice(graph.node)
            if one.attribute and chance.random() < 0.5:
                attribute = chance.choice(one.attribute)
                attribute.i, attribute.f = chance.choice((0, -1, 1 << 40)), chance.random()
            elif one.input and other.input:
                one.input[0] = chance.choice(other.input)

        try:
            open_checkpoint(changed(genai, change))
        except CannotExport:
            refused += 1

    assert refused > 50


def test_more_structure_than_any_model_is_damage_before_it_is_parsed(optimum):
    empty = b"\x0a\x00" * (1 << 19)
    size = b"".join(bytes([len(empty) >> 7 * n & 127 | 128]) for n in range(3)) + b"\x00"
    (optimum / "model.onnx").write_bytes(b"\x3a" + size + empty)
    tracemalloc.start()
    with pytest.raises(Damaged, match="more structure than any model"):
        open_checkpoint(optimum)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < MEMORY_BYTES


@pytest.mark.parametrize("size", [1 << 40, (1 << 63) - 1, -1])
@pytest.mark.parametrize("name", ["genai-llama", "optimum-llama3"])
def test_a_weight_that_says_it_is_large_takes_no_memory(name, size, copied):
    def change(graph):
        weight = next(one for one in graph.initializer if len(one.dims) == 2)
        weight.dims[0] = size

    folder = changed(copied(name), change)
    tracemalloc.start()
    with pytest.raises(Damaged):
        open_checkpoint(folder)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < MEMORY_BYTES


def _located(location):
    def change(graph):
        for weight in graph.initializer:
            for entry in weight.external_data:
                if entry.key == "location":
                    entry.value = location

    return change


@pytest.mark.parametrize(
    "location", ["../model.onnx.data", "/etc/passwd", "a/b", "..", ".", "", "a\0b"]
)
def test_weights_outside_the_folder_are_refused(location, genai):
    (genai.parent / "model.onnx.data").write_bytes((genai / "model.onnx.data").read_bytes())

    with pytest.raises(CannotExport, match="no file of its folder"):
        open_checkpoint(changed(genai, _located(location)))


def test_weights_behind_a_link_are_refused(genai):
    data = genai / "model.onnx.data"
    data.rename(genai.parent / "elsewhere")
    data.symlink_to(genai.parent / "elsewhere")

    with pytest.raises(CannotExport, match="it is a link: copy the folder with cp -rL"):
        open_checkpoint(genai)


def test_weights_that_are_a_pipe_are_refused(genai):
    (genai / "model.onnx.data").unlink()
    os.mkfifo(genai / "model.onnx.data")

    with pytest.raises(CannotExport, match="it is no file"):
        open_checkpoint(genai)


def test_weights_that_are_missing_or_cut_off_are_refused(genai):
    data = genai / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-4096])
    with pytest.raises(Damaged, match=r"does not fit into model\.onnx\.data"):
        open_checkpoint(genai)

    data.unlink()
    with pytest.raises(CannotExport, match="No such file"):
        open_checkpoint(genai)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offset": "-4096"}, "does not fit"),
        ({"offset": str(1 << 60)}, "does not fit"),
        ({"length": "8"}, "does not fit"),
        ({"offset": "0x"}, "lies nowhere"),
    ],
)
def test_places_that_cannot_be_are_damage(fields, message, genai):
    def change(graph):
        for entry in graph.initializer[1].external_data:
            entry.value = fields.get(entry.key, entry.value)

    with pytest.raises(Damaged, match=message):
        open_checkpoint(changed(genai, change))


# folders


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ({"pipeline": [{}]}, "its decoder is several graphs"),
        ({"filename": "../model.onnx"}, "no ONNX file of the folder"),
        ({"filename": "other.onnx"}, r"lacks other\.onnx"),
        ({"head_size": 8}, "a part of each head"),
        ({"num_key_value_heads": 3}, "must be a multiple"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_genai_configuration_that_cannot_be_is_refused(decoder, message, genai):
    model = json.loads((genai / "genai_config.json").read_text())["model"]
    model["decoder"] |= decoder

    with pytest.raises(CannotExport, match=message):
        open_checkpoint(with_json(genai, "genai_config.json", model=model))


def test_a_kind_of_model_that_is_not_known_is_refused(genai):
    model = json.loads((genai / "genai_config.json").read_text())["model"]
    with pytest.raises(Unsupported, match=r"model\.type is 'gemma'"):
        open_checkpoint(with_json(genai, "genai_config.json", model={**model, "type": "gemma"}))


def test_a_merged_decoder_is_refused_unless_the_other_lies_beside(optimum):
    (optimum / "model.onnx").rename(optimum / "decoder_model_merged.onnx")
    with pytest.raises(Unsupported, match=r"decoder_with_past_model\.onnx"):
        open_checkpoint(optimum)

    shutil.copy(optimum / "decoder_model_merged.onnx", optimum / "decoder_with_past_model.onnx")
    assert open_checkpoint(optimum).architecture.layers == 2


def test_a_graph_in_a_folder_of_its_own_is_found(optimum):
    """As in repositories of models for browsers."""
    (optimum / "onnx").mkdir()
    (optimum / "model.onnx").rename(optimum / "onnx/model.onnx")

    assert open_checkpoint(optimum).architecture.layers == 2


def test_one_file_of_an_export_says_which_folder_to_give(optimum):
    with pytest.raises(CannotExport, match=f"give its folder, {optimum}"):
        open_checkpoint(optimum / "model.onnx")


def test_a_folder_of_nothing_lists_what_is_read(tmp_path):
    with pytest.raises(CannotExport, match=r"GGUF.*safetensors.*optimum.*onnxruntime-genai"):
        open_checkpoint(tmp_path)
