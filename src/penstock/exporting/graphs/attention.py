"""Attention over a cache that is written in place, so that a row's bits are its own.

The query heads that share a head of keys are folded into rows, since products of matrices have
equal rows for any number of rows from two on; a lone head is there twice. A row sees the columns up
to its own position; the others have the weight 0 exactly, however many there are.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from penstock.exporting.architecture import Architecture, Rotary
from penstock.exporting.graphs.graph import Graph
from penstock.exporting.whisper.architecture import Whisper


class Attention:
    """Attention of one stage: what its layers share, and each layer.

    Attributes:
        positions: int64[batch, length], of the columns.
    """

    def __init__(
        self, graph: Graph, architecture: Architecture | Whisper, start: str, columns: str
    ) -> None:
        """*columns* is what has the rows and columns of this call as its first dimensions."""
        self._graph = graph
        self._architecture = architecture
        self._start = start
        self._group = architecture.heads // architecture.kv_heads
        self._fold = max(self._group, 2)
        length = graph.op("Squeeze", graph.op("Shape", columns, start=1, end=2))
        self.positions = self._positions_of(length)
        self._used = self._used_columns(length)
        self._mask = self._mask_of()
        rotary = architecture.rotary
        self._turns = None if rotary is None else self._turns_of(rotary)

    def layer(self, number: int, projected: Sequence[str], norm: Callable[[str, str], str]) -> str:
        """Attention of layer *number*: from queries, keys and values to [batch, length, width].

        Args:
            norm: normalizes with the weight of this layer that is named.
        """
        graph, heads = self._graph, self._architecture
        queries, keys, values = projected
        kv, size = heads.kv_heads, heads.head_size
        queries = graph.op("Reshape", queries, graph.constant([0, 0, kv, self._group, size]))
        keys = graph.op("Reshape", keys, graph.constant([0, 0, kv, 1, size]))
        values = graph.op("Reshape", values, graph.constant([0, 0, kv, size]))
        if heads.normed:
            queries = norm("attn_q_norm.weight", queries)
            keys = norm("attn_k_norm.weight", keys)
        keys = graph.op("Reshape", self._turned(keys), graph.constant([0, 0, kv, size]))
        stored_keys = self._stored("keys", number, keys)
        stored_values = self._stored("values", number, values)
        queries = self._folded(self._turned(queries))
        mixed = self._mix(queries, stored_keys, stored_values, self._mask)
        return self._unfolded(mixed)

    def across(self, queries: str, keys: str, values: str) -> str:
        """Attention to all of *keys* and *values*, [batch, kv_heads, count, size] each."""
        kv, size = self._architecture.kv_heads, self._architecture.head_size
        shape = self._graph.constant([0, 0, kv, self._group, size])
        queries = self._folded(self._graph.op("Reshape", queries, shape))
        return self._unfolded(self._mix(queries, keys, values, None))

    def bind(self, layers: Iterable[int]) -> None:
        """Say that the caches of *layers* come in and go out."""
        heads = self._architecture
        shape: list[int | str] = ["batch", heads.kv_heads, "capacity", heads.head_size]
        for number in layers:
            for part in ("keys", "values"):
                self._graph.input(f"{part}_{number}", np.float32, shape)
                self._graph.output(f"new_{part}_{number}", np.float32, shape)

    # what the layers share

    def _positions_of(self, length: str) -> str:
        """int64[batch, length]."""
        graph = self._graph
        within = graph.op("Range", graph.constant(0), length, graph.constant(1))
        return graph.op("Add", graph.op("Unsqueeze", self._start, graph.constant([1])), within)

    def _used_columns(self, length: str) -> str:
        """int64[1]: columns of the cache that the longest row has after this call."""
        graph = self._graph
        longest = graph.op("ReduceMax", self._start, keepdims=0)
        return graph.op("Unsqueeze", graph.op("Add", longest, length), graph.constant([0]))

    def _mask_of(self) -> str:
        """float32[batch, 1, length * fold, used]: 0 for what a row sees, -inf for the rest."""
        graph = self._graph
        used = graph.op("Squeeze", self._used, graph.constant([0]))
        columns = graph.op("Range", graph.constant(0), used, graph.constant(1))
        rows = graph.op("Unsqueeze", self.positions, graph.constant([2]))
        seen = graph.op("LessOrEqual", columns, rows)
        zero, never = graph.constant(0, np.float32), graph.constant(-np.inf, np.float32)
        mask = graph.op("Unsqueeze", graph.op("Where", seen, zero, never), graph.constant([2]))
        mask = graph.op("Expand", mask, graph.constant([1, 1, self._fold, 1]))
        front = graph.constant([0, 1, -1])
        return graph.op("Reshape", mask, graph.op("Concat", front, self._used, axis=0))

    def _turns_of(self, rotary: Rotary) -> tuple[str, str]:
        """Cosines and sines, float32[batch, length, 1, 1, head_size / 2] each."""
        graph, heads = self._graph, self._architecture
        tables = rotary.tables(heads.context, heads.head_size)
        named = zip(("cosines", "sines"), tables, strict=True)
        gathered = [
            graph.op("Gather", graph.weight(name, table), self.positions) for name, table in named
        ]
        axes = graph.constant([2, 3])
        cosines, sines = (graph.op("Unsqueeze", one, axes) for one in gathered)
        return cosines, sines

    # parts of one layer

    def _turned(self, heads: str) -> str:
        """Rotary positions: pairs half a head apart, turned by the angle of their position."""
        graph = self._graph
        if self._turns is None:
            return heads
        cosines, sines = self._turns
        half = self._architecture.head_size // 2
        sizes = graph.constant([half, half])
        one, other = graph.ops("Split", heads, sizes, outs=[None, None], axis=-1)
        turned = (
            graph.op("Sub", graph.op("Mul", one, cosines), graph.op("Mul", other, sines)),
            graph.op("Add", graph.op("Mul", other, cosines), graph.op("Mul", one, sines)),
        )
        return graph.op("Concat", *turned, axis=-1)

    def _stored(self, part: str, number: int, new: str) -> str:
        """The cache with *new* in its place, as far as it is used."""
        graph = self._graph
        columns = graph.op("Transpose", new, perm=[0, 2, 1, 3])
        whole = graph.op(
            "TensorScatter",
            f"{part}_{number}",
            columns,
            self._start,
            out=f"new_{part}_{number}",
            axis=2,
        )
        return graph.op("Slice", whole, graph.constant([0]), self._used, graph.constant([2]))

    def _folded(self, queries: str) -> str:
        """[batch, length, kv_heads, group, size] as [batch, kv_heads, length * fold, size]."""
        graph, heads = self._graph, self._architecture
        if self._group == 1:
            queries = graph.op("Concat", queries, queries, axis=3)
        rows = graph.op("Transpose", queries, perm=[0, 2, 1, 3, 4])
        return graph.op("Reshape", rows, graph.constant([0, heads.kv_heads, -1, heads.head_size]))

    def _mix(self, queries: str, keys: str, values: str, mask: str | None) -> str:
        graph = self._graph
        scores = graph.op("MatMul", queries, graph.op("Transpose", keys, perm=[0, 1, 3, 2]))
        scale = graph.constant(self._architecture.head_size**-0.5, np.float32)
        scores = graph.op("Mul", scores, scale)
        if mask is not None:
            scores = graph.op("Add", scores, mask)
        return graph.op("MatMul", graph.op("Softmax", scores, axis=-1), values)

    def _unfolded(self, mixed: str) -> str:
        """[batch, kv_heads, length * fold, size] as [batch, length, heads * size]."""
        graph, heads = self._graph, self._architecture
        shape = [0, heads.kv_heads, -1, self._fold, heads.head_size]
        mixed = graph.op("Reshape", mixed, graph.constant(shape))
        if self._group == 1:
            ends = graph.constant([0]), graph.constant([1]), graph.constant([3])
            mixed = graph.op("Slice", mixed, *ends)
        mixed = graph.op("Transpose", mixed, perm=[0, 2, 1, 3, 4])
        width = heads.heads * heads.head_size
        return graph.op("Reshape", mixed, graph.constant([0, -1, width]))
