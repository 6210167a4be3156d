"""A torch module as a `Graph`: exported with a dynamic batch, then read node by node.

Names are those of the wire: inputs as the arguments of ``forward``, outputs as the keys of the
dict that it returns (otherwise ``output``, or ``output_0`` ...), all else as the export names it.
"""

import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves

from penstock.datatypes import ITEM_BYTES
from penstock.sharding.comparison import Tensors
from penstock.sharding.errors import CannotShard
from penstock.sharding.free_sizes import FreeSizes
from penstock.sharding.graph import Graph, Operation, Tensor, Weight
from penstock.sharding.samples import InputSpec, sample
from penstock.sharding.torch.factory import to_array, to_tensor
from penstock.tensors import Array
from penstock.workers.runtimes.pt2_signature import DATATYPE_NAMES, call_arguments, signature_of

_TRACED_BATCH = 2
_FREE_SIZE = 16  # for other sizes that follow the request; each next one gets one more
_ADVICE = 'For more information, run with TORCH_LOGS="+dynamic".'
_HELD = {"PARAMETER", "BUFFER", "CONSTANT_TENSOR"}


@dataclass(frozen=True, slots=True)
class TorchModel:
    """An exported module and its graph.

    ``nodes`` are the graph's operations, ``names`` the wire's names by node, ``held`` the weights
    by the same names.
    """

    program: Any
    graph: Graph
    nodes: list[fx.Node]
    names: dict[fx.Node, str]
    held: dict[str, torch.Tensor]
    specs: list[InputSpec]
    batched: bool

    def request_of(self, batch: int) -> Tensors:
        """Sample inputs of a batch of that size."""
        return {spec.name: sample(spec, _sizes(self.specs, spec, batch)) for spec in self.specs}

    def free(self) -> FreeSizes:
        """The sizes that follow the request, but for the batch's."""
        traced = self.request_of(_TRACED_BATCH)
        free = [
            (spec.name, axis)
            for spec in self.specs
            for axis, size in enumerate(spec.shape)
            if size is None and axis
        ]
        sizes = {f"{name}:{axis}": traced[name].shape[axis] for name, axis in free}
        places = {f"{name}:{axis}": f"dimension {axis} of input '{name}'" for name, axis in free}
        return FreeSizes(sizes, places, self._request_at)

    def _request_at(self, values: Mapping[str, int]) -> Tensors:
        request = {}
        for spec in self.specs:
            sizes = _sizes(self.specs, spec, _TRACED_BATCH)
            others = (values.get(f"{spec.name}:{axis}", n) for axis, n in enumerate(sizes))
            request[spec.name] = sample(spec, tuple(others))
        return request

    def run(self, request: Any) -> Tensors:
        """The whole module's answer.

        Raises:
            CannotShard: it refuses these sizes.
        """
        tensors = [to_tensor(request[spec.name], spec.datatype) for spec in self.specs]
        args, kwargs = call_arguments(self.program, tensors)
        try:
            with torch.inference_mode():
                results = self.program.module()(*args, **kwargs)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise CannotShard(f"the exported module does not run: {reason(error)}") from None
        leaves: list[Array] = [to_array(leaf) for leaf in tree_leaves(results)]
        return dict(zip(self.graph.outputs, leaves, strict=True))


def export(module: nn.Module, specs: list[InputSpec]) -> TorchModel:
    """Export *module* with samples as *specs* say, and read its graph.

    Raises:
        CannotShard: torch.export cannot, or the program does what no stage could.
    """
    batched = all(spec.shape and spec.shape[0] is None for spec in specs)
    shared = torch.export.Dim("batch") if batched else torch.export.Dim.DYNAMIC
    samples, dynamic = {}, {}
    for spec in specs:
        samples[spec.name] = to_tensor(
            sample(spec, _sizes(specs, spec, _TRACED_BATCH)), spec.datatype
        )
        dynamic[spec.name] = {
            axis: torch.export.Dim.DYNAMIC if axis else shared
            for axis, size in enumerate(spec.shape)
            if size is None
        }
    program = quiet_export(module, (), samples, dynamic)
    names = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    ordered = sorted(specs, key=lambda spec: names.index(spec.name) if spec.name in names else -1)
    if len(names) != len(samples):
        raise CannotShard(
            "every input of the module must be one tensor that it uses; wrap it in a module whose "
            "forward takes only such tensors"
        )
    return _read(program, ordered, batched=batched)


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's warnings, logs and prints: what matters is raised."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def quiet_export(module: nn.Module, args: Any, kwargs: Any, dynamic: Any) -> Any:
    """torch.export without its warnings and traces, in a form that changes nothing in place.

    Raises:
        CannotShard: with the first line of what torch says.
    """
    with quiet(), torch.no_grad():
        try:
            program = torch.export.export(module, args, kwargs, dynamic_shapes=dynamic)
            return program.run_decompositions({})
        except Exception as error:  # noqa: BLE001 - its exceptions share no base class
            raise CannotShard(_why_not(error)) from None


def _why_not(error: Exception) -> str:
    if "specialized it to be a constant" in str(error):
        return (
            "the module works for one batch size only, that of the sample it was traced with: take "
            "the size from the input, as in x.shape[0], instead of a number"
        )
    return f"torch.export cannot export the module: {reason(error)}"


def reason(error: Exception) -> str:
    """What torch says, without its pages of advice."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    text = [line.removesuffix(_ADVICE).strip() for line in lines[:2]]
    return " ".join(text) or type(error).__name__


def _sizes(specs: Sequence[InputSpec], spec: InputSpec, batch: int) -> tuple[int, ...]:
    sizes = list(spec.shape)
    first = sum(len(other.shape) for other in specs[: specs.index(spec)])
    given = spec.array.shape if spec.array is not None else ()
    for axis, size in enumerate(sizes):
        if size is None and axis:
            sizes[axis] = given[axis] if given else _FREE_SIZE + first + axis
        elif size is None:
            sizes[axis] = batch
    return tuple(size for size in sizes if size is not None)


def _read(program: Any, specs: list[InputSpec], *, batched: bool) -> TorchModel:
    _check_signature(program)
    outputs = _output_nodes(program)
    held = _held(program)
    names = _names(program, outputs, held)
    nodes = [node for node in program.graph.nodes if node.op in ("call_function", "get_attr")]
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    batch = None
    if batched:
        batch = _dims(placeholders[specs[0].name].meta["val"])[0]
        if isinstance(batch, int):
            raise CannotShard(
                f"the module works for batch size {batch} only; remove what fixes the size"
            )
    tensors = {names[node]: _tensor(node, batch) for node in names if _travels(node)}
    graph = Graph(
        inputs=tuple(spec.name for spec in specs),
        outputs=tuple(names[node] for node in outputs),
        operations=tuple(_operation(node, names) for node in nodes),
        weights={name: Weight(t.numel(), t.numel() * t.element_size()) for name, t in held.items()},
        tensors={name: tensor for name, tensor in tensors.items() if name not in held},
    )
    return TorchModel(program, graph, nodes, names, held, specs, batched)


def _check_signature(program: Any) -> None:
    signature = program.graph_signature
    if any(spec.kind.name != "USER_OUTPUT" for spec in signature.output_specs):
        raise CannotShard(
            "the module changes its buffers or inputs while it runs, but a stage must answer each "
            "request alike; return the new value as an output instead"
        )
    kinds = {spec.kind.name for spec in signature.input_specs}
    if kinds - _HELD - {"USER_INPUT"}:
        raise CannotShard(
            "the module holds something that is not a tensor; wrap it in a module that does not"
        )
    signature_of(program, None)  # refuses outputs that are not tensors


def _output_nodes(program: Any) -> list[fx.Node]:
    """The nodes of the outputs; one node for each, and none of them an input."""
    graph = program.graph
    end = next(node for node in graph.nodes if node.op == "output")
    seen: list[fx.Node] = []
    for node in end.args[0]:
        if node in seen or node.op == "placeholder":
            with graph.inserting_before(end):
                copy = graph.call_function(torch.ops.aten.clone.default, (node,))
            copy.meta["val"] = node.meta["val"]
            seen.append(copy)
        else:
            seen.append(node)
    return seen


def _held(program: Any) -> dict[str, torch.Tensor]:
    """The weights by the name that they had in the module."""
    held = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind.name in _HELD:
            found = program.state_dict.get(spec.target)
            held[spec.target] = program.constants[spec.target] if found is None else found
    return held


def _names(
    program: Any, outputs: Sequence[fx.Node], held: dict[str, torch.Tensor]
) -> dict[fx.Node, str]:
    """Wire names; a weight that is tied to another has that one's name."""
    first_of = {id(tensor): name for name, tensor in reversed(held.items())}
    targets = {
        spec.arg.name: first_of[id(held[spec.target])]
        for spec in program.graph_signature.input_specs
        if spec.kind.name in _HELD
    }
    names = dict(zip(outputs, _output_names(program, len(outputs)), strict=True))
    clash = set(names.values()).intersection(program.graph_signature.user_inputs)
    if clash:
        raise CannotShard(f"an input and an output are both called '{clash.pop()}'; rename one")
    taken = {*names.values(), *held}
    for node in program.graph.nodes:
        if node.name in targets:
            names[node] = targets[node.name]
        elif node not in names and node.op != "output":
            is_free = node.op == "placeholder" or node.name not in taken
            names[node] = node.name if is_free else f"{node.name}_"
    return names


def _output_names(program: Any, count: int) -> list[str]:
    spec = program.call_spec.out_spec
    if spec.type is dict and spec.num_children == count:
        return [str(key) for key in spec.context]
    return ["output"] if count == 1 else [f"output_{place}" for place in range(count)]


def _operation(node: fx.Node, names: dict[fx.Node, str]) -> Operation:
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    path = modules[-1][0] if modules else ""
    return Operation(
        name=f"{path}/{node.name}" if path else node.name,
        reads=tuple(names[read] for read in node.all_input_nodes),
        writes=(names[node],),
        sizes_only=is_size(node),
    )


def is_size(node: fx.Node) -> bool:
    """Whether the node reads one size of a tensor."""
    return node.target is torch.ops.aten.sym_size.int


def symbol_of(size: Any) -> int | str:
    """A size as the graph keeps it: a number, or the text of its expression."""
    return size if isinstance(size, int) else str(size.node.expr)


def _dims(value: Any) -> tuple[int | str, ...]:
    return tuple(symbol_of(size) for size in value.shape)


def _travels(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and str(value.dtype) in DATATYPE_NAMES


def traced_shape(value: Any) -> tuple[int, ...]:
    """The sizes of a traced tensor when the sample ran through."""
    return tuple(n if isinstance(n, int) else int(n.node.hint) for n in value.shape)


def _tensor(node: fx.Node, batch: int | str | None) -> Tensor:
    value = node.meta["val"]
    datatype, dims = DATATYPE_NAMES[str(value.dtype)], _dims(value)
    leads = batch is not None and dims[:1] == (batch,)
    shape = traced_shape(value)
    return Tensor(
        datatype=datatype,
        dims=dims,
        item_bytes=math.prod(shape[1:] if leads else shape) * (ITEM_BYTES[datatype] or 0),
        may_cross=batch is None or leads,
    )
