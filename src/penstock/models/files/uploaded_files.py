"""Uploaded files: of what comes over the network with a load, only what is proved to be data.

An allow-list, by name and by content: ONNX graphs, the weights that a graph beside them names, and
text. Everything else may be code: a ``.pt2`` is unpickled, a library is loaded. Gateways ask here
before they take a file, and workers again before they load it, since a worker believes neither a
gateway nor the store in this.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

from penstock.errors import InvalidConfiguration
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.protos.wire import Malformed, field_numbers

_TEXTS: Final = frozenset({".txt", ".json", ".csv", ".md", ".pbtxt"})
_CODE: Final = frozenset({".pt2", ".pt", ".pth", ".py", ".pyc", ".so", ".plan", ".engine", ".ort"})
_GRAPH_FIELD: Final = 7
_MODEL_FIELDS: Final = range(1, 64)
_MOST_FIELDS: Final = 100_000
_LOCATION: Final = b"\x0a\x08location\x12"
"""How protobuf writes the beginning of an entry that says where a tensor's weights are."""

_COMPILED: Final = b"EPContext"
"""The operator that hands an accelerator a program which was compiled elsewhere."""


_PATH: Final = re.compile(r"([1-9]\d{0,17}/)?[^/\\\0.][^/\\\0]*")

LONGEST_NAME: Final = 255
"""Bytes of the name of a file, on every file system."""


class CodeUploaded(InvalidConfiguration):
    """A file that came with a load may be code."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            f"'{path}' {why}: nothing that may be code is taken over the network. Put it into a "
            "model repository; or start gateways and nodes with --allow-code-overrides, if you "
            "trust everybody who can load models"
        )


def is_override_path(path: str) -> bool:
    """Whether *path* can name a file that comes with a load, and leads nowhere else."""
    name = path.rpartition("/")[2]
    return _PATH.fullmatch(path) is not None and len(name.encode()) <= LONGEST_NAME


def check_uploaded(config: ModelConfig, files: Mapping[str, bytes]) -> None:
    """Refuse *files* (path below the model's directory -> content) unless all of them are data.

    Raises:
        CodeUploaded: naming the first that is not.
    """
    graphs = {path: data for path, data in files.items() if _suffix(path) == ".onnx"}
    weights = {place for path, data in graphs.items() for place in _weights_of(path, data)}
    labels = {output.label_filename for output in config.output} - {""}
    for path, data in sorted(files.items()):
        if path in graphs:
            check_graph(path, data)
        elif _suffix(path) in _CODE:
            raise CodeUploaded(path, "is code")
        elif _suffix(path) in _TEXTS or path in labels:
            if not _is_text(data):
                raise CodeUploaded(path, "is not the UTF-8 text that its name promises")
        elif path not in weights:
            raise CodeUploaded(path, "is no ONNX graph, no weights that one names, and no text")


def check_graph(path: str, data: bytes) -> None:
    """Refuse what is called ``.onnx`` and is something else.

    Raises:
        CodeUploaded: *data* is no ONNX model, or carries a compiled program.
    """
    try:
        numbers = field_numbers(data, _MOST_FIELDS)
    except Malformed:
        numbers = set()
    known = all(number in _MODEL_FIELDS for number in numbers)
    if _GRAPH_FIELD not in numbers or not known or zipfile.is_zipfile(io.BytesIO(data)):
        raise CodeUploaded(path, "does not hold an ONNX model")
    if _COMPILED in data:
        raise CodeUploaded(path, f"holds a compiled program ({_COMPILED.decode()})")


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _weights_of(path: str, data: bytes) -> Iterator[str]:
    """The files that a graph names as the places of its weights."""
    at = data.find(_LOCATION)
    while at >= 0:
        start = at + len(_LOCATION) + 1
        # A file's name fits into the 127 bytes whose length is one byte.
        name = data[start : start + data[start - 1]] if start <= len(data) else b""
        yield str(PurePosixPath(path).parent / name.decode(errors="replace"))
        at = data.find(_LOCATION, start)


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()
