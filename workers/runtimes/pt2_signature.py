"""What the inputs and outputs of a `.pt2` are called, and what they look like.

An exported program names its inputs after the arguments of ``forward``, and its outputs after the
keys of the dict that ``forward`` returns; a tuple has none. Where that is not enough, as between
the stages of one model, the names travel inside the file as an extra file, ``penstock.json``:

    {"inputs":  [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
     "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]}

Both lists are in the program's own order. Without it the inputs have the names of the arguments,
and the outputs those of the keys (``aux_0`` is the first in the list at ``aux``, ``h_out`` is at
``h`` where an input is called ``h``), or ``output``, or ``output_0``, ``output_1`` ... where there
are several. None is no output.

torch is not imported here: a program is passed in.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from penstock.errors import ArtifactUnusable

EXTRA_FILE = "penstock.json"
"""The key of ``extra_files`` in `torch.export.save` and `torch.export.load`."""

DATATYPE_NAMES = {
    "torch.bool": "BOOL", "torch.uint8": "UINT8", "torch.uint16": "UINT16",
    "torch.uint32": "UINT32", "torch.uint64": "UINT64", "torch.int8": "INT8",
    "torch.int16": "INT16", "torch.int32": "INT32", "torch.int64": "INT64",
    "torch.float16": "FP16", "torch.float32": "FP32", "torch.float64": "FP64",
    "torch.bfloat16": "BF16",
}  # fmt: skip
"""A torch dtype as text -> the wire's name for it."""


class TensorSignature(NamedTuple):
    """One input or output; -1 is a size that follows the request."""

    name: str
    datatype: str
    shape: tuple[int, ...]


Signatures = tuple[TensorSignature, ...]


def write_extra(inputs: Iterable[TensorSignature], outputs: Iterable[TensorSignature]) -> str:
    """The text of ``penstock.json`` for these tensors, in the program's order."""
    return json.dumps(
        {
            "inputs": [tensor._asdict() for tensor in inputs],
            "outputs": [tensor._asdict() for tensor in outputs],
        }
    )


def signature_of(program: Any, extra_text: str | bytes | None) -> tuple[Signatures, Signatures]:
    """The inputs and outputs of *program*, an ``ExportedProgram``, in its flat order.

    *extra_text* is the content of ``penstock.json``, empty or None where the file has none.
    Datatypes and shapes are always the program's own; only the names come from the text.

    Raises:
        ArtifactUnusable: an input or output is not a tensor that can travel, or the text is not
            about this program.
    """
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    input_names = _input_names(program)
    inputs = [_look(f"input '{name}'", values.get(name)) for name in input_names]
    outputs = [
        _look(f"output {place}", values.get(getattr(spec.arg, "name", None)))
        for place, spec in enumerate(_user_outputs(program))
    ]
    output_names = _output_names(program, len(outputs), input_names)
    if extra_text:
        described = _read_extra(extra_text)
        input_names = _names(described, "inputs", inputs)
        output_names = _names(described, "outputs", outputs)
    return _signatures(input_names, inputs), _signatures(output_names, outputs)


def dimensions_of(program: Any) -> list[tuple[str, ...]]:
    """What *program* calls the sizes of its inputs, then of its outputs, in its flat order.

    A number as text, or an expression of the export's own symbols: "s0", "s0*s1".
    """
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    outputs = (spec.arg.name for spec in _user_outputs(program))
    return [tuple(map(str, values[name].shape)) for name in (*_input_names(program), *outputs)]


def call_arguments(program: Any, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments that call *program* with *tensors*.

    *tensors* are in the order of `signature_of`. Arguments that were constants at the export
    (None, numbers) are put back in their places, lists and dicts are built again.
    """
    given = iter(tensors)
    leaves = [
        spec.arg.value if _is_constant(spec.arg) else next(given) for spec in _user_inputs(program)
    ]
    args, kwargs = program.call_spec.in_spec.unflatten(leaves)
    return tuple(args), dict(kwargs)


def _user_inputs(program: Any) -> Iterator[Any]:
    specs = program.graph_signature.input_specs
    return (spec for spec in specs if spec.kind.name == "USER_INPUT")


def _input_names(program: Any) -> list[str]:
    """Those that are tensors: others were constants at the export."""
    return [spec.arg.name for spec in _user_inputs(program) if not _is_constant(spec.arg)]


def _user_outputs(program: Any) -> Iterator[Any]:
    return (spec for spec in _all_user_outputs(program) if not _is_none(spec.arg))


def _all_user_outputs(program: Any) -> Iterator[Any]:
    specs = program.graph_signature.output_specs
    return (spec for spec in specs if spec.kind.name == "USER_OUTPUT")


def _is_none(argument: Any) -> bool:
    return _is_constant(argument) and argument.value is None


def _is_constant(argument: Any) -> bool:
    return hasattr(argument, "value")


def _look(what: str, value: Any) -> tuple[str, tuple[int, ...]]:
    """Datatype and shape of the tensor that *value* stands for."""
    datatype = DATATYPE_NAMES.get(str(getattr(value, "dtype", None)))
    if datatype is None or not hasattr(value, "shape"):
        raise ArtifactUnusable(
            f"{what} of the exported program is not a tensor of a datatype that can travel; "
            "export a module whose forward takes and returns plain tensors"
        )
    return datatype, tuple(size if isinstance(size, int) else -1 for size in value.shape)


def _default_names(count: int) -> list[str]:
    return ["output"] if count == 1 else [f"output_{place}" for place in range(count)]


def _output_names(program: Any, count: int, inputs: Collection[str]) -> list[str]:
    """What the keys say where ``forward`` returns a dict; else numbers."""
    tree = program.call_spec.out_spec
    if not issubclass(tree.type or object, Mapping):
        return _default_names(count)
    leaves = zip(_leaf_names(tree, ""), _all_user_outputs(program), strict=True)
    keys = [name for name, spec in leaves if not _is_none(spec.arg)]
    names = [f"{key}_out" if key in inputs else key for key in keys]
    return names if len({*names, *inputs}) == count + len(inputs) else _default_names(count)


def _leaf_names(tree: Any, name: str) -> Iterator[str]:
    if tree.is_leaf():
        yield name
        return
    children = tree.children()
    keys: Iterable[object] = range(len(children))
    if issubclass(tree.type, Mapping):
        # A defaultdict has its factory in front.
        keys = tree.context[1] if tree.type is defaultdict else tree.context
    for key, child in zip(keys, children, strict=True):
        yield from _leaf_names(child, f"{name}_{key}" if name else str(key))


def _read_extra(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ArtifactUnusable(f"{EXTRA_FILE} inside the artifact is not JSON") from None


def _names(described: Any, kind: str, looks: Sequence[tuple[str, tuple[int, ...]]]) -> list[str]:
    try:
        names = [str(tensor["name"]) for tensor in described[kind]]
        datatypes = [tensor["datatype"] for tensor in described[kind]]
    except (KeyError, TypeError):
        raise ArtifactUnusable(f"{EXTRA_FILE} inside the artifact lacks its {kind}") from None
    if datatypes != [datatype for datatype, _ in looks]:
        raise ArtifactUnusable(
            f"{EXTRA_FILE} inside the artifact describes other {kind} than its program has"
        )
    if len(set(names)) < len(names):
        raise ArtifactUnusable(f"{EXTRA_FILE} inside the artifact names two {kind} alike")
    return names


def _signatures(names: Sequence[str], looks: Sequence[tuple[str, tuple[int, ...]]]) -> Signatures:
    pairs = zip(names, looks, strict=True)
    return tuple(TensorSignature(name, datatype, shape) for name, (datatype, shape) in pairs)
