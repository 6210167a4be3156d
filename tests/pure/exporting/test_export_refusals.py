"""Checkpoints that lie, are cut off, or carry code: refused by name, before anything large."""

import contextlib
import json
import math
import os
import pickle
import random
import struct
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from support.models import tiny_language

from penstock.exporting.checkpoints.gguf_header import read_header
from penstock.exporting.checkpoints.opening import open_checkpoint
from penstock.exporting.errors import CannotExport, Damaged, Unsupported

NOBODY = 65534

MEMORY_BYTES = 32 << 20


@pytest.fixture
def folder(tmp_path):
    return tiny_language.write_folder(tmp_path / "folder")


@pytest.fixture(scope="module")
def gguf_bytes(tmp_path_factory):
    return tiny_language.write_gguf(tmp_path_factory.mktemp("gguf") / "m.gguf").read_bytes()


def _with_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


# GGUF


def _opened(tmp_path, content):
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    return open_checkpoint(path)


def _at(content, offset, form, value):
    changed = bytearray(content)
    struct.pack_into(form, changed, offset, value)
    return bytes(changed)


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    with pytest.raises(CannotExport, match="does not begin with GGUF"):
        _opened(tmp_path, b"PK\3\4" + bytes(100))


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(CannotExport, match="cannot be read"):
        _opened(tmp_path, b"")


@pytest.mark.parametrize("share", [0.001, 0.05, 0.2, 0.5, 0.9, 0.999])
def test_a_gguf_file_that_is_cut_off_is_damaged(share, tmp_path, gguf_bytes):
    with pytest.raises(Damaged, match="copy or download it again"):
        _opened(tmp_path, gguf_bytes[: int(len(gguf_bytes) * share) + 8])


@pytest.mark.parametrize("offset", [8, 16], ids=["tensors", "fields"])
@pytest.mark.parametrize("count", [1 << 20, 1 << 62, (1 << 64) - 1])
def test_counts_that_lie_are_damage(offset, count, tmp_path, gguf_bytes):
    with pytest.raises(Damaged):
        _opened(tmp_path, _at(gguf_bytes, offset, "<Q", count))


def _list_of(kind, count):
    """A GGUF header with one field: a list of *count* items, of which there are none."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    return head + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, kind, count) + bytes(64)


@pytest.mark.parametrize("kind", [0, 4, 8, 9, 12, 77])
@pytest.mark.parametrize("count", [1 << 24, 1 << 60])
def test_a_list_that_says_it_is_long_takes_no_memory(kind, count):
    tracemalloc.start()
    with pytest.raises(Damaged):
        read_header(memoryview(_list_of(kind, count)), "m.gguf")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < MEMORY_BYTES


def test_a_gguf_tensor_beyond_the_end_is_damage(tmp_path, gguf_bytes):
    # A tensor's entry: its name, dimensions, type and offset.
    name = b"output_norm.weight"
    offset = gguf_bytes.index(name) + len(name) + 4 + 8 + 4
    with pytest.raises(Damaged, match=r"output_norm\.weight .* does not fit into the file"):
        _opened(tmp_path, _at(gguf_bytes, offset, "<Q", 1 << 40))


def test_hostile_bytes_anywhere_in_a_gguf_file_never_crash(tmp_path, gguf_bytes):
    """Whatever is changed, it is read, or refused with a reason; nothing else happens."""
    chance = random.Random(5)  # noqa: S311
    header_bytes = read_header(memoryview(gguf_bytes), "m").data_begins
    refused = 0
    for _ in range(300):
        changed = bytearray(gguf_bytes)
        for _ in range(chance.choice((1, 2, 8))):
            changed[chance.randrange(header_bytes)] = chance.choice((0, 1, 0x7F, 0xFF))
        try:
            _opened(tmp_path, bytes(changed))
        except CannotExport:
            refused += 1

    assert refused > 100


def test_another_architecture_is_refused_by_name(tmp_path, gguf_bytes):
    with pytest.raises(Unsupported, match="its architecture is 'lxama'"):
        _opened(tmp_path, gguf_bytes.replace(b"llama", b"lxama", 2))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["embedding_length", "attention.layer_norm_rms_epsilon"])
def test_a_gguf_number_that_is_none_is_damage(name, value, tmp_path, gguf_bytes):
    kind = gguf_bytes.index(f"llama.{name}".encode()) + len(f"llama.{name}")
    floats = 6
    changed = _at(_at(gguf_bytes, kind, "<I", floats), kind + 4, "<f", value)

    with pytest.raises(Damaged, match=f"{name} is '{value}'"):
        _opened(tmp_path, changed)


# folders


def test_a_folder_of_pickles_is_refused_and_none_is_opened(folder, tmp_path):
    class Boom:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Boom()))

    with pytest.raises(CannotExport, match=r"pytorch_model\.bin is a pickle"):
        open_checkpoint(folder)
    with pytest.raises(CannotExport, match=r"pytorch_model\.bin is a pickle"):
        open_checkpoint(folder / "pytorch_model.bin")
    assert not (tmp_path / "executed").exists()


def test_code_in_a_folder_is_not_looked_at(folder, tmp_path):
    (folder / "modeling.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    _with_config(folder, auto_map={"AutoModelForCausalLM": "modeling.Model"})

    open_checkpoint(folder)

    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.99])
def test_a_safetensors_file_that_is_cut_off_is_damaged(share, folder):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    with pytest.raises(Damaged, match=r"model\.safetensors is damaged"):
        open_checkpoint(folder)


@pytest.mark.parametrize("size", [1 << 30, (1 << 63) - 1])
def test_a_safetensors_header_that_says_it_is_long_is_damage(size, folder):
    path = folder / "model.safetensors"
    path.write_bytes(_at(path.read_bytes(), 0, "<Q", size))

    with pytest.raises(Damaged, match=r"model\.safetensors is damaged"):
        open_checkpoint(folder)


def test_an_index_that_leads_out_of_the_folder_is_refused(folder):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": "../folder/model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(CannotExport, match="no file of the folder"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 1 << 40}, "width is"),
        ({"num_hidden_layers": 0}, "layers is 0"),
        ({"num_hidden_layers": 4}, r"lacks the tensor blk\.3"),
        ({"intermediate_size": 41}, "should have"),
        ({"num_attention_heads": "six"}, "num_attention_heads is 'six'"),
        ({"num_key_value_heads": 4}, "must be a multiple"),
        ({"vocab_size": None}, "vocab_size is missing"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is"),
        ({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "type 'yarn'"),
        ({"partial_rotary_factor": 0.5}, "a part of each head"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_configuration_that_cannot_be_exported_is_refused_by_name(fields, message, folder):
    _with_config(folder, **fields)

    with pytest.raises(CannotExport, match=message):
        open_checkpoint(folder)


def test_a_configuration_that_is_no_json_is_damage(folder):
    (folder / "config.json").write_text("[" * 100_000)

    with pytest.raises(Damaged, match=r"config\.json is damaged"):
        open_checkpoint(folder)


def test_a_sliding_window_ends_the_context(folder):
    _with_config(folder, sliding_window=32)

    assert open_checkpoint(folder).architecture.context == 32


@pytest.fixture
def readable_by_all():
    """A folder that others may look into, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def _no_root():
    """Nobody who may read everything."""
    before = os.geteuid()
    os.seteuid(NOBODY if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)


def test_weights_that_may_not_be_read_are_not_called_missing(readable_by_all):
    folder = tiny_language.write_folder(readable_by_all / "checkpoint")
    (folder / "model.safetensors").chmod(0)

    refused = r"model\.safetensors cannot be read: Permission denied"
    with _no_root(), pytest.raises(CannotExport, match=refused):
        open_checkpoint(folder)
