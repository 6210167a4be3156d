"""The header of a GGUF file, read within bounds: each count is held against the file's size.

The library `gguf` reads headers too, and believes their counts. The format is specified at
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian).
"""

import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from penstock.exporting.errors import CannotExport, Damaged

MAGIC: Final = b"GGUF"

_MOST_FIELDS: Final = 1 << 14
_MOST_TENSORS: Final = 1 << 16
_MOST_ITEMS: Final = 1 << 23
_LONGEST_KEY: Final = 1 << 12
_LONGEST_TEXT: Final = 1 << 22
_MOST_DIMENSIONS: Final = 4
_MOST_ALIGNMENT: Final = 1 << 16

_SCALARS: Final = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9


class TensorEntry(NamedTuple):
    """A tensor of the file.

    Attributes:
        shape: as numpy has it, the last dimension the densest.
        kind: its number in ggml's list of types.
        offset: of its first byte, from the beginning of the data.
    """

    shape: tuple[int, ...]
    kind: int
    offset: int


class Header(NamedTuple):
    """What a GGUF file says of itself.

    Attributes:
        data_begins: byte of the file where the tensors' data begin.
    """

    fields: Mapping[str, Any]
    tensors: Mapping[str, TensorEntry]
    data_begins: int


def read_header(data: memoryview, file: str) -> Header:
    """The header of the file whose bytes are *data*, and whose name for people is *file*.

    Raises:
        Damaged: it is cut off, or its counts cannot be true.
        CannotExport: it is no GGUF file, or of another version.
    """
    if bytes(data[:4]) != MAGIC:
        raise CannotExport(f"{file} is no GGUF file: it does not begin with GGUF")
    reader = _Reader(data, file)
    reader.at = 4
    version = reader.number("I")
    if version not in (2, 3):
        raise CannotExport(f"{file} is GGUF version {version}: versions 2 and 3 can be read")
    tensor_count = reader.count("tensors", _MOST_TENSORS, 24)
    field_count = reader.count("fields", _MOST_FIELDS, 13)
    fields: dict[str, Any] = {}
    for _ in range(field_count):
        key = reader.text(_LONGEST_KEY)
        fields[key] = reader.value(reader.number("I"))
    tensors: dict[str, TensorEntry] = {}
    for _ in range(tensor_count):
        name = reader.text(_LONGEST_KEY)
        if name in tensors:
            raise Damaged(file, f"it has the tensor {name} twice")
        tensors[name] = reader.tensor()
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= _MOST_ALIGNMENT:
        raise Damaged(file, f"its data cannot be aligned to {alignment!r} bytes")
    return Header(fields, tensors, -(-reader.at // alignment) * alignment)


class _Reader:
    """Reads on from *at*; whatever would be beyond the end is damage."""

    def __init__(self, data: memoryview, file: str) -> None:
        self._data = data
        self._file = file
        self._items = 0
        self.at = 0

    def number(self, form: str) -> Any:
        size = struct.calcsize(form)
        if self.at + size > len(self._data):
            raise Damaged(self._file, "it ends within its header")
        (value,) = struct.unpack_from(f"<{form}", self._data, self.at)
        self.at += size
        return value

    def count(self, what: str, most: int, least_bytes: int) -> int:
        """A count of things that take at least so many bytes each."""
        count: int = self.number("Q")
        if count > most or count * least_bytes > len(self._data) - self.at:
            raise Damaged(self._file, f"it says that it has {count} {what}")
        return count

    def text(self, longest: int = _LONGEST_TEXT) -> str:
        size = self.count("characters in a text", longest, 1)
        self.at += size
        try:
            return bytes(self._data[self.at - size : self.at]).decode()
        except UnicodeDecodeError as error:
            raise Damaged(self._file, "a text in its header is no UTF-8") from error

    def value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind != _LIST:
            return self.number(self._form(kind))
        inner = self.number("I")
        least = 8 if inner == _TEXT else struct.calcsize(self._form(inner))
        count = self.count("items in a list", _MOST_ITEMS, least)
        self._items += count
        if self._items > _MOST_ITEMS:
            raise Damaged(self._file, f"its lists have more than {_MOST_ITEMS} items")
        if inner == _TEXT:
            return [self.text() for _ in range(count)]
        self.at += least * count
        form = f"<{count}{self._form(inner)}"
        return list(struct.unpack_from(form, self._data, self.at - least * count))

    def tensor(self) -> TensorEntry:
        rank = self.number("I")
        if not 1 <= rank <= _MOST_DIMENSIONS:
            raise Damaged(self._file, f"it has a tensor of {rank} dimensions")
        shape = tuple(self.number("Q") for _ in range(rank))
        return TensorEntry(shape[::-1], self.number("I"), self.number("Q"))

    def _form(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise Damaged(self._file, f"its header has a value of type {kind}, which is none")
        return _SCALARS[kind]
