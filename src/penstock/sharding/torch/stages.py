"""The stages of a torch module as exported programs of their own.

A stage's nodes are copied into a new graph: weights become its own attributes, sizes are read
from its own inputs. That graph is exported again, so that torch checks it and the batch of each
stage is dynamic.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx

from penstock.sharding.graph import Stage
from penstock.sharding.torch.model import (
    TorchModel,
    is_size,
    quiet,
    quiet_export,
    symbol_of,
    traced_shape,
)
from penstock.workers.runtimes.pt2_signature import EXTRA_FILE, TensorSignature, write_extra


def write_stage(model: TorchModel, stage: Stage, path: Path) -> None:
    """Write *stage* to *path*, with the names of its inputs and outputs inside."""
    nodes = {name: node for node, name in model.names.items()}
    values = [nodes[name].meta["val"] for name in stage.inputs]
    samples = tuple(torch.zeros(traced_shape(one), dtype=one.dtype) for one in values)
    dynamic = tuple(
        {
            axis: torch.export.Dim.DYNAMIC
            for axis, dim in enumerate(model.graph.tensors[name].dims)
            if isinstance(dim, str)
        }
        for name in stage.inputs
    )
    program = quiet_export(_stage_module(model, stage), samples, {}, dynamic)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the paths of the machine that exported it
    extra = {EXTRA_FILE: _extra(model, stage)}
    with quiet():
        torch.export.save(program, path, extra_files=extra)


def _extra(model: TorchModel, stage: Stage) -> str:
    def describe(names: Mapping[str, str]) -> list[TensorSignature]:
        tensors = ((wire_name, model.graph.tensors[name]) for name, wire_name in names.items())
        return [TensorSignature(name, t.datatype, tuple(t.wire_shape)) for name, t in tensors]

    return write_extra(describe(stage.inputs), describe(stage.outputs))


def _stage_module(model: TorchModel, stage: Stage) -> fx.GraphModule:
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    attributes: dict[str, Any] = {}
    for place, name in enumerate(stage.inputs):
        made[name] = graph.placeholder(f"input_{place}")
    for place, name in enumerate(sorted(stage.weights)):
        attributes[f"weight_{place}"] = model.held[name]
        made[name] = graph.get_attr(f"weight_{place}")
    for index in stage.operations:
        node = model.nodes[index]
        if node.op == "get_attr":
            attributes[str(node.target)] = getattr(model.program.graph_module, str(node.target))
        made[model.names[node]] = _copy(model, stage, graph, node, made)
    graph.output(tuple(made[name] for name in stage.outputs))
    return fx.GraphModule(_root(attributes), graph)


def _copy(
    model: TorchModel, stage: Stage, graph: fx.Graph, node: fx.Node, made: dict[str, fx.Node]
) -> fx.Node:
    if is_size(node) and model.names[node.all_input_nodes[0]] not in made:
        tensor, axis = stage.sizes_from[str(symbol_of(node.meta["val"]))]
        return graph.call_function(torch.ops.aten.sym_size.int, (made[tensor], axis))
    return graph.node_copy(node, lambda read: made[model.names[read]])


def _root(attributes: dict[str, Any]) -> torch.nn.Module:
    root = torch.nn.Module()
    for name, value in attributes.items():
        if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
            root.register_buffer(name, value)
        else:
            setattr(root, name, value)
    return root
