"""One stage of a decoder as a graph: from tokens or hidden states to hidden states or logits.

tokens int64[batch, length]         stage 0; behind it hidden float32[batch, length, width]
start int64[batch]                  position of the first column of each row
wanted int64[rows, 2]               last stage: (row of the batch, column) of each wanted row
keys_N, values_N                    float32[batch, kv_heads, capacity, head_size], of layer N
-> hidden float32[batch, length, width], or logits float32[rows, vocabulary]
-> new_keys_N, new_values_N         to be bound to the same buffers
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from penstock.exporting.architecture import Architecture
from penstock.exporting.graphs.attention import Attention
from penstock.exporting.graphs.graph import Graph
from penstock.exporting.graphs.matrices import Floats, Matrices, Source, Weights, matrices_of

Read = Callable[[str], Floats]


@dataclass(frozen=True, slots=True)
class StagePlan:
    """Which layers a stage has.

    Attributes:
        first, last: layers, the last not included.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class StageWeights:
    """Where weights come from, and what they become.

    Attributes:
        read: gets a tensor of the checkpoint.
        source: what there is of matrices besides.
    """

    read: Read
    kind: Weights
    source: Source = field(default_factory=Source)


def write_stage(
    graph: Graph, plan: StagePlan, architecture: Architecture, weights: StageWeights
) -> None:
    """Write the layers of *plan* into *graph*."""
    read, matrices = weights.read, matrices_of(weights.kind, graph, weights.source)
    begins, ends = plan.first == 0, plan.last == architecture.layers
    width = architecture.width
    start = graph.input("start", np.int64, ["batch"])
    if begins:
        columns = graph.input("tokens", np.int64, ["batch", "length"])
        hidden = matrices.lookup(columns, read("token_embd.weight"))
    else:
        hidden = columns = graph.input("hidden", np.float32, ["batch", "length", width])
    attention = Attention(graph, architecture, start, columns)
    layers = _Layers(graph, attention, architecture, read, matrices)
    for number in range(plan.first, plan.last):
        hidden = layers.add(number, hidden)
    if ends:
        _head(graph, architecture, read, hidden, matrices)
    else:
        graph.op("Identity", hidden, out="next_hidden")
        graph.output("next_hidden", np.float32, ["batch", "length", width])
    attention.bind(range(plan.first, plan.last))


def normalized(graph: Graph, architecture: Architecture, hidden: str, weight: str) -> str:
    """*hidden* by its root mean square, along the last axis."""
    return graph.op("RMSNormalization", hidden, weight, axis=-1, epsilon=architecture.epsilon)


@dataclass(frozen=True, slots=True)
class _Layers:
    """The layers of one stage."""

    graph: Graph
    attention: Attention
    architecture: Architecture
    read: Read
    matrices: Matrices

    def add(self, number: int, hidden: str) -> str:
        """Layer *number*, from hidden states to hidden states."""
        graph, prefix = self.graph, f"blk.{number}."

        def project(name: str, of: str) -> str:
            return self._projected(prefix + name, of)

        def norm(name: str, of: str) -> str:
            weight = graph.weight(prefix + name, self.read(prefix + name))
            return normalized(graph, self.architecture, of, weight)

        into = norm("attn_norm.weight", hidden)
        heads = [project(f"attn_{part}", into) for part in "qkv"]
        mixed = self.attention.layer(number, heads, norm)
        hidden = graph.op("Add", hidden, project("attn_output", mixed))
        into = norm("ffn_norm.weight", hidden)
        gate = project("ffn_gate", into)
        gate = graph.op("Mul", gate, graph.op("Sigmoid", gate))
        inner = graph.op("Mul", gate, project("ffn_up", into))
        return graph.op("Add", hidden, project("ffn_down", inner))

    def _projected(self, name: str, hidden: str) -> str:
        """*hidden* times the matrix *name*, and its bias where it has one."""
        matrix = f"{name}.weight"
        product = self.matrices.product(hidden, matrix, self.read(matrix))
        if name.rpartition(".")[2] not in self.architecture.biased:
            return product
        bias = self.graph.weight(f"{name}.bias", self.read(f"{name}.bias"))
        return self.graph.op("Add", product, bias)


def _head(
    graph: Graph, architecture: Architecture, read: Read, hidden: str, matrices: Matrices
) -> None:
    """Logits of the rows that are wanted, and of no other."""
    wanted = graph.input("wanted", np.int64, ["rows", 2])
    rows = graph.op("GatherND", hidden, wanted)
    weight = graph.weight("output_norm.weight", read("output_norm.weight"))
    rows = normalized(graph, architecture, rows, weight)
    name = "token_embd.weight" if architecture.tied else "output.weight"
    matrices.head(rows, read(name), tied=architecture.tied)
    graph.output("logits", np.float32, ["rows", architecture.vocabulary])
