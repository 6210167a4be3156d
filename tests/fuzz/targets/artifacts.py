"""What is read of artifacts before a runtime loads them: names of files, and what is inside."""

import json
import tempfile
from functools import partial
from pathlib import Path

from fuzz import mutations
from fuzz.engine import Target

from penstock.errors import ArtifactUnusable, InvalidConfiguration
from penstock.models.files import artifacts
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.runtimes import pt2_signature

BASE = Path(tempfile.mkdtemp(prefix="fuzz-artifacts-")).resolve()


def folder(data):
    """A version whose directory has files of these names, one a line; the first is the config's."""
    config, *names = data.decode("utf-8", "replace").split("\n")
    where = BASE / "m" / "1"
    where.mkdir(parents=True, exist_ok=True)
    files = [where / name.strip("/") for name in names[:8]]
    made = []
    try:
        for file in files:
            try:
                if file.parent == where and file.name and not file.exists():
                    file.write_bytes(data[:4])
                    made.append(file)
            except (OSError, ValueError):
                continue
        artifacts.stages_of(BASE, where, ModelConfig(default_model_filename=config))
    finally:
        for file in made:
            file.unlink()


LOOKS = [("FP32", (-1, 4)), ("BYTES", (1,))]


def extra(data):
    described = pt2_signature._read_extra(data)
    for kind in ("inputs", "outputs"):
        pt2_signature._names(described, kind, LOOKS)


EXTRA = pt2_signature.write_extra(
    [pt2_signature.TensorSignature("x", "FP32", (-1, 4)),
     pt2_signature.TensorSignature("t", "BYTES", (1,))],
    [pt2_signature.TensorSignature("y", "FP32", (-1, 4)),
     pt2_signature.TensorSignature("u", "BYTES", (1,))],
).encode()  # fmt: skip
WORDS = (b"model.onnx", b"model.pt2", b"shard-0.onnx", b"shard-1.pt2", b"..", b"\n", b"model.data")
FOLDERS = [
    b"\nmodel.onnx",
    b"\nshard-0.onnx\nshard-1.pt2\nshard-0_data",
    b"other.onnx\nother.onnx\nmodel.onnx",
    b"\nmodel.onnx\nmodel.pt2\npenstock.json",
]

TARGETS = [
    Target("folder", "names of a version's files", FOLDERS, folder,
           (ArtifactUnusable, InvalidConfiguration), partial(mutations.text, words=WORDS)),
    Target("penstock.json", "the names inside a .pt2", [EXTRA, json.dumps([]).encode()], extra,
           (ArtifactUnusable,), partial(mutations.text, words=(b"inputs", b"outputs", b"null"))),
]  # fmt: skip
