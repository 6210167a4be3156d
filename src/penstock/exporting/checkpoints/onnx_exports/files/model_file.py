"""An ONNX file as operations and arrays; what is not read is refused by name."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from penstock.exporting.checkpoints.onnx_exports.files.protobuf_sizes import check_structure
from penstock.exporting.checkpoints.onnx_exports.files.stored import FLOATS, Beside, Stored, stored
from penstock.exporting.errors import CannotExport, Damaged, Unsupported

MICROSOFT: Final = "com.microsoft:"
_PLAIN_DOMAINS: Final = ("", "ai.onnx")
_MOST_BYTES: Final = 2 << 30
_UNKEPT: Final = ("Identity", "Cast")


class Op(NamedTuple):
    """An operation.

    Attributes:
        number: of the operations before it.
        kind: its name, behind its domain and ":" where that is not ONNX's own.
    """

    number: int
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def input(self, number: int) -> str:
        """The input *number*; "" where there is none."""
        return self.inputs[number] if number < len(self.inputs) else ""

    def whole(self, name: str, default: int = 0) -> int:
        """The whole number that the attribute *name* is; *default* where there is none.

        Raises:
            Unsupported: it is something else.
        """
        value = self.attributes.get(name, default)
        if type(value) is not int:
            raise Unsupported(f"{self.kind} with a {name} that is no whole number")
        return value

    def real(self, name: str, default: float) -> float:
        """The same of a number."""
        value = self.attributes.get(name, default)
        if type(value) not in (int, float):
            raise Unsupported(f"{self.kind} with a {name} that is no number")
        return float(value)


class OnnxModel:
    """A graph, each of whose values is made once, before it is used.

    Attributes:
        inputs: their names, and their shapes; 0 for a size that is open.
        stored: arrays by name, constants among them.
        made_by: value -> the operation that makes it, and which of its results it is.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.outputs: tuple[str, ...] = ()
        self.stored: dict[str, Stored] = {}
        self.made_by: dict[str, tuple[Op, int]] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """The model in *path*; files that it names lie beside it.

        Raises:
            CannotExport: it is damaged, none, or leads out of its folder.
        """
        proto = _parsed(path)
        graph, model = proto.graph, cls(path.name)
        for what, there in (
            ("functions", proto.functions),
            ("sparse initializers", graph.sparse_initializer),
        ):
            if there:
                raise Unsupported(f"{path.name}: it has {what}")
        for values in (graph.initializer, graph.input, graph.output):
            _check_texts(path.name, (value.name for value in values))
        beside = Beside(path.parent, path.name)
        for tensor in graph.initializer:
            model._define(tensor.name)
            model.stored[tensor.name] = stored(tensor, beside, path.name)
        for value in graph.input:
            if value.name not in model.stored:
                model._define(value.name)
                dims = value.type.tensor_type.shape.dim
                model.inputs[value.name] = tuple(max(dim.dim_value, 0) for dim in dims)
        for number, node in enumerate(graph.node):
            model._add(number, node, beside)
        model.outputs = tuple(value.name for value in graph.output)
        return model

    def op(self, value: str) -> Op | None:
        """The operation that makes *value*, if one does."""
        made = self.made_by.get(value)
        return None if made is None else made[0]

    def plain(self, value: str) -> str:
        """*value*, or what it was before casts between floats, which change no real number."""
        while (op := self.op(value)) is not None and op.kind in _UNKEPT:
            if op.kind == "Cast" and op.attributes.get("to") not in FLOATS:
                break
            value = op.input(0)
        return value

    def array(self, value: str) -> Stored | None:
        """What is stored as *value*, perhaps behind casts."""
        return self.stored.get(self.plain(value))

    def number(self, value: str) -> float | None:
        """The one number that is stored as *value*; None for all else."""
        there = self.array(value)
        if there is None or any(size != 1 for size in there.shape):
            return None
        return float(there.array().reshape(()))

    def is_defined(self, value: str) -> bool:
        """Whether there is such a value."""
        return value in self.stored or value in self.inputs or value in self.made_by

    def _define(self, value: str) -> None:
        if self.is_defined(value):
            raise Damaged(self.file, f"it has {value[:80]!r} twice")

    def _add(self, number: int, node: Any, beside: Beside) -> None:
        _check_texts(self.file, (node.domain, node.op_type, node.name, *node.input, *node.output))
        _check_texts(self.file, (one.name for one in node.attribute))
        domain = "" if node.domain in _PLAIN_DOMAINS else f"{node.domain}:"
        attributes = {one.name: _value(one, beside, self.file) for one in node.attribute}
        op = Op(number, domain + node.op_type, tuple(node.input), tuple(node.output), attributes)
        for name in op.inputs:
            if name and not self.is_defined(name):
                raise Damaged(self.file, f"{node.name[:80]!r} uses {name[:80]!r} before it is made")
        for place, name in enumerate(op.outputs):
            if name:
                self._define(name)
                self.made_by[name] = op, place
        if op.kind == "Constant" and len(op.outputs) == 1:
            there = _constant(next(iter(attributes.values()), None))
            if there is not None:
                self.stored[op.outputs[0]] = there
                del self.made_by[op.outputs[0]]


def _parsed(path: Path) -> Any:
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise Damaged(path.name, "it has more than 2 GiB, which no ONNX file has")
        content = path.read_bytes()
    except OSError as error:
        raise CannotExport(f"{path} cannot be read: {error.strerror}") from error
    check_structure(memoryview(content), path.name)
    try:
        return ModelProto.FromString(content)
    except DecodeError as error:
        raise Damaged(path.name, "it is no ONNX model") from error


def _check_texts(file: str, texts: Iterable[Any]) -> None:
    """Raise `Damaged` where one is no UTF-8: such a text comes as bytes."""
    if not all(isinstance(text, str) for text in texts):
        raise Damaged(file, "a text in its graph is no UTF-8")


def _value(attribute: Any, beside: Beside, file: str) -> Any:
    """What an attribute says; None for a graph, since no operation that has one is known."""
    kind = attribute.type
    if kind == 1:
        return attribute.f
    if kind == 2:
        return attribute.i
    if kind == 3:
        return attribute.s.decode("utf-8", "replace")
    if kind == 4:
        return stored(attribute.t, beside, file)
    if kind in (6, 7):
        return list(attribute.floats if kind == 6 else attribute.ints)
    return None


def _constant(value: Any) -> Stored | None:
    """What an operation says that is a constant."""
    if isinstance(value, Stored):
        return value
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(type(one) in (int, float) for one in numbers):
        return None
    is_float = any(isinstance(one, float) for one in numbers)
    array = np.array(value, dtype=np.float32 if is_float else np.int64)
    return Stored("", 1 if is_float else 7, array.shape, array)


def named(values: Iterable[str]) -> str:
    """The first of *values*, for people."""
    found = sorted(values)
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return ", ".join(value[:80] for value in found[:8]) + more
