"""What `penstock export` reads: files that somebody downloaded, or was sent.

Weights are too long for inputs. An input is a small file of a real checkpoint, or the edits that a
large one gets: a GGUF file's header, a graph of ONNX.
"""

import math
import re
import struct
import tempfile
from functools import partial
from pathlib import Path

import onnx
from fuzz import mutations
from fuzz.engine import Target
from support.exports.originals import unpacked
from support.models import tiny_language

from penstock.exporting.checkpoints.opening import open_checkpoint
from penstock.exporting.errors import CannotExport

BASE = Path(tempfile.mkdtemp(prefix="fuzz-checkpoints-")).resolve()
SHAPE = tiny_language.Shape(layers=1)
GGUF = tiny_language.write_gguf(BASE / "m.gguf", SHAPE).read_bytes()
FOLDER = tiny_language.write_folder(BASE / "folder", SHAPE)
NAMES = [found.end() for found in re.finditer(rb"(llama|tokenizer)[a-z_.]+", GGUF)]
VALUES = [struct.pack("<f", one) for one in (math.nan, math.inf, -1.0, 0.5, 1e30)]
VALUES += [struct.pack("<I", one & 0xFFFFFFFF) for one in (*mutations.NUMBERS, 24, 6, 8)]
WEIGHTS = (FOLDER / "model.safetensors").read_bytes()
HEADER_BYTES = int.from_bytes(WEIGHTS[:8], "little")
EXPORTS = unpacked(BASE)
GRAPHS = [EXPORTS / "genai-llama", EXPORTS / "genai-int4-llama", EXPORTS / "genai-qwen3"]


def gguf(data):
    """Edits: of the number that belongs to a name, or of four bytes at any place of the header."""
    changed, at = bytearray(GGUF), 0
    while at + 8 <= len(data):
        of_name, one, other, number = data[at] & 1, *data[at + 1 : at + 4]
        if of_name:
            place = NAMES[one % len(NAMES)]
            changed[place : place + 4] = (other % 13).to_bytes(4, "little")
            changed[place + 4 : place + 8] = VALUES[number % len(VALUES)]
        else:
            place = int.from_bytes(data[at + 1 : at + 4], "little") % (len(GGUF) // 2)
            changed[place : place + 4] = data[at + 4 : at + 8]
        at += 8
    (BASE / "m.gguf").write_bytes(changed)
    open_checkpoint(BASE / "m.gguf")


def file_of(folder, name, data):
    """The file *name* of the checkpoint in *folder* has these bytes."""
    kept = (folder / name).read_bytes()
    (folder / name).write_bytes(data)
    try:
        open_checkpoint(folder)
    finally:
        (folder / name).write_bytes(kept)


def header(data):
    """The header of a file of safetensors."""
    body = len(data).to_bytes(8, "little") + data + WEIGHTS[8 + HEADER_BYTES :]
    file_of(FOLDER, "model.safetensors", body)


def graph(data):
    """First which export; then each four bytes: an edit, and what of the graph it is done to."""
    folder = GRAPHS[data[0] % len(GRAPHS)] if data else GRAPHS[0]
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for at in range(1, len(data) - 3, 4):
        edit(model.graph, *data[at : at + 4])
    file_of(folder, "model.onnx", model.SerializeToString())


def edit(graph, kind, one, other, number):
    """Change a node of *graph* or what it stores; *one* and *other* choose, as *kind* says."""
    if graph.node and graph.initializer:
        value = mutations.NUMBERS[number % len(mutations.NUMBERS)]
        if kind & 1:
            edit_node(graph.node, kind >> 1, one, other, value)
        else:
            stored = graph.initializer[one % len(graph.initializer)]
            edit_stored(stored, kind >> 1, other, value)


def edit_node(nodes, kind, one, other, value):
    node, by = nodes[one % len(nodes)], nodes[other % len(nodes)]
    match kind % 5:
        case 0:
            nodes.remove(node)
        case 1 if node.input and by.input:
            node.input[value % len(node.input)] = by.input[-1] if value & 1 else by.input[0]
        case 2 if node.attribute:
            attribute = node.attribute[other % len(node.attribute)]
            attribute.i, attribute.f = value - (other & 1), float(value) or float("nan")
        case 3:
            node.op_type = by.op_type
        case 4:
            nodes.add().CopyFrom(node)


def edit_stored(tensor, kind, other, value):
    match kind % 4:
        case 0 if tensor.dims:
            tensor.dims[other % len(tensor.dims)] = value
        case 1 if tensor.external_data:
            tensor.external_data[other % len(tensor.external_data)].value = str(value - 1)
        case 2:
            tensor.data_type = other
        case 3:
            tensor.dims.append(value & 1)


WORDS = (b"null", b"true", b"[]", b"{}", b"-1", b"1e999", b'"llama3"', b"rope_scaling")
EDITS = [bytes([export]) + edits for export in range(len(GRAPHS)) for edits in (b"", b"\1\1\1\1")]


def longer(data, random):
    """An edit more, of the kind that knows where numbers are."""
    return data[-80:] + b"\1" + random.randbytes(7)


def small(folder, name):
    return (folder / name).read_bytes()


def words(data, random):
    return mutations.text(data, random, words=WORDS)


TARGETS = [
    Target("gguf", "edits of a GGUF file's header", [b"", bytes(8), b"\1\1\4\1" + bytes(4)], gguf,
           (CannotExport,), longer),
    Target("config.json", "that of a folder", [small(FOLDER, "config.json")],
           partial(file_of, FOLDER, "config.json"), (CannotExport,), words),
    Target("safetensors", "the header of its weights", [WEIGHTS[8 : 8 + HEADER_BYTES]], header,
           (CannotExport,), words),
    Target("genai_config.json", "that of an ONNX export", [small(GRAPHS[0], "genai_config.json")],
           partial(file_of, GRAPHS[0], "genai_config.json"), (CannotExport,), words),
    Target("onnx", "edits of the graph of an ONNX export", EDITS, graph, (CannotExport,)),
]  # fmt: skip
