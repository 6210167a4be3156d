"""Attention as a graph has it beside attention as it should be: on made-up numbers, layer by layer.

Exports write attention in hundreds of operations, otherwise in each release. So they are not
recognized, they are computed: with some tokens before, and with as many as the context has room
for, which would show a window, other angles, another scale, or a mask that hides more.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from penstock.exporting.architecture import Architecture
from penstock.exporting.checkpoints.onnx_exports.attention_operations import (
    attended,
    heads_of,
    root_mean_square,
    turned,
)
from penstock.exporting.checkpoints.onnx_exports.decoder import TOKENS, Decoder, Layer
from penstock.exporting.checkpoints.onnx_exports.evaluation import evaluated
from penstock.exporting.checkpoints.onnx_exports.files.model_file import OnnxModel, named
from penstock.exporting.checkpoints.onnx_exports.files.stored import HALVES, Array
from penstock.exporting.errors import Unsupported

_PAST: Final = re.compile(r"past_key_values\.(\d{1,4})\.(key|value)")
_MASK: Final = "attention_mask"
_POSITIONS: Final = "position_ids"
_MOST_NUMBERS: Final = 1 << 26
"""Of keys, once they are there for each head of queries."""
_FEW_BEFORE: Final = 5
_FEW: Final = 7

Roles = tuple[int, int, int]
"""Which part of what is projected is queries, keys and values."""

_ORDERS: Final[Sequence[Roles]] = (
    *((0, 1, 2), (0, 2, 1), (1, 0, 2)),
    *((1, 2, 0), (2, 0, 1), (2, 1, 0)),
)


def longest_tried(architecture: Architecture) -> int:
    """How many columns attention is tried with: the context, or what memory allows."""
    each = architecture.heads * architecture.head_size
    return min(architecture.context, max(_MOST_NUMBERS // each, 16))


def try_attention(model: OnnxModel, decoder: Decoder, architecture: Architecture) -> list[Roles]:
    """Which part is what, in each layer.

    Raises:
        CannotExport: a layer computes something else.
    """
    trial = _Trial(model, decoder, architecture)
    return [trial.roles(number) for number in range(len(decoder.layers))]


@dataclass(frozen=True, slots=True)
class _Case:
    """So many columns *before*, and rows at the next ones."""

    before: int
    rows: int


class _Trial:
    def __init__(self, model: OnnxModel, decoder: Decoder, architecture: Architecture) -> None:
        self._model = model
        self._decoder = decoder
        self._shape = architecture
        # Halves that are numbers of attention itself, such as its scale, are rounded more.
        has_halves = any(one.kind in HALVES for one in model.stored.values())
        self._near = 2e-3 if has_halves else 2e-4
        few = 1 if model.inputs[TOKENS][1:] == (1,) else _FEW
        longest = longest_tried(architecture)
        self._cases = (
            _Case(min(_FEW_BEFORE, longest - few), few),
            _Case(longest - 1, 1),
        )
        self._tables = architecture.rotary.tables(longest, architecture.head_size)

    def roles(self, number: int) -> Roles:
        """Of layer *number*."""
        layer = self._decoder.layers[number]
        past = self._past_of(layer, number)
        left = self._possible(layer, number)
        for case in self._cases:
            chance = np.random.default_rng(number)
            known = self._known(layer, past, case, chance)
            known |= self._cache(past, case, chance)
            present = [f"present.{number}.{part}" for part in ("key", "value")]
            found = evaluated(self._model, [layer.region.value, *present], known)
            left = [roles for roles in left if self._is_so(layer, roles, case, known, past, found)]
        if len(left) != 1:
            raise Unsupported(
                f"{self._model.file}: layer {number} computes another attention than the Llama "
                f"family's with the numbers that its configuration has ({self._numbers()})",
                "another scaling of positions, a sliding window or a mask may be in it",
            )
        return left[0]

    def _numbers(self) -> str:
        shape = self._shape
        return (
            f"{shape.heads} heads, {shape.kv_heads} of keys, of size {shape.head_size}, "
            f"context {shape.context}"
        )

    def _past_of(self, layer: Layer, number: int) -> tuple[str, str]:
        """The inputs that have keys and values of what was before; what else there is is known."""
        expected = {f"past_key_values.{number}.key", f"past_key_values.{number}.value"}
        found = {name for name in layer.region.inputs if _PAST.fullmatch(name)}
        if not found:
            raise Unsupported(
                f"{self._model.file}: it has no cache",
                "export it with one (optimum: --task text-generation-with-past)",
            )
        others = layer.region.inputs - expected - {_MASK, _POSITIONS}
        if found != expected or others:
            raise Unsupported(
                f"{self._model.file}: attention of layer {number} uses "
                f"{named(others or layer.region.inputs)}, which is not understood"
            )
        return f"past_key_values.{number}.key", f"past_key_values.{number}.value"

    def _possible(self, layer: Layer, number: int) -> list[Roles]:
        """Roles that fit the sizes of what is projected."""
        shape = self._shape
        queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        sizes = [one.matrix.shape[0] for one in layer.projected]
        if len(sizes) == 1:
            fits = [(0, 1, 2)] if sizes[0] == queries + 2 * keys else []
        else:
            wanted = [queries, keys, keys]
            fits = [one for one in _ORDERS if [sizes[n] for n in one] == wanted]
        if not fits:
            raise Unsupported(
                f"{self._model.file}: layer {number} projects to {sizes} numbers, which do not fit "
                f"{self._numbers()}"
            )
        return fits

    def _known(
        self, layer: Layer, past: tuple[str, str], case: _Case, chance: np.random.Generator
    ) -> dict[str, Array]:
        """Values to begin from: made up where they count, zeros where only their shape does."""
        shape, total = self._shape, case.before + case.rows
        zero, columns = np.float32(0), (1, shape.kv_heads, case.before, shape.head_size)
        known: dict[str, Array] = {
            name: np.broadcast_to(zero, columns)
            for name in self._model.inputs
            if _PAST.fullmatch(name) and name not in past
        }
        known[TOKENS] = np.zeros((1, case.rows), np.int64)
        known[_MASK] = np.ones((1, total), np.int64)
        known[_POSITIONS] = np.arange(case.before, total)[None]
        for value in self._decoder.hidden:
            known[value] = np.broadcast_to(zero, (1, case.rows, shape.width))
        for product in self._decoder.products():
            known[product.value] = np.broadcast_to(zero, (1, case.rows, product.matrix.shape[0]))
        for product in layer.projected:
            size = 1, case.rows, product.matrix.shape[0]
            known[product.value] = chance.standard_normal(size, np.float32)
        return known

    def _cache(
        self, past: tuple[str, str], case: _Case, chance: np.random.Generator
    ) -> dict[str, Array]:
        shape = self._shape
        columns = 1, shape.kv_heads, case.before, shape.head_size
        keys, values = (chance.standard_normal(columns, np.float32) for _ in range(2))
        # The first column's share is small: a window that leaves it out must be seen all the same.
        values[:, :, :1] *= np.float32(case.before)
        return dict(zip(past, (keys, values), strict=True))

    def _is_so(
        self,
        layer: Layer,
        roles: Roles,
        case: _Case,
        known: Mapping[str, Array],
        past: tuple[str, str],
        found: Sequence[Array],
    ) -> bool:
        """Whether attention with these *roles* is what was *found*."""
        queries, keys, values = self._heads(layer, roles, known)
        columns = slice(case.before, case.before + case.rows)
        tables = [table[columns] for table in self._tables]
        queries, keys = turned(queries, *tables), turned(keys, *tables)
        keys = np.concatenate([known[past[0]], keys], 2)
        values = np.concatenate([known[past[1]], values], 2)
        mixed = attended(queries, keys, values, self._shape.head_size**-0.5)
        # Angles are rounded as float32, so far positions are less sure.
        near = self._near + 5e-7 * case.before
        return all(
            one.shape == other.shape and _apart(one, other) < near
            for one, other in zip((mixed, keys, values), found, strict=True)
        )

    def _heads(self, layer: Layer, roles: Roles, known: Mapping[str, Array]) -> list[Array]:
        """Queries, keys and values as [1, heads, length, size], normalized where they are."""
        shape = self._shape
        counts = shape.heads, shape.kv_heads, shape.kv_heads
        rows = [known[product.value] for product in layer.projected]
        origins = [(product.value, 0) for product in layer.projected]
        if len(rows) == 1:
            ends = shape.heads * shape.head_size, (shape.heads + shape.kv_heads) * shape.head_size
            origins = [(layer.projected[0].value, part) for part in range(3)]
            rows = np.split(rows[0], ends, -1)
        norms = {origin: one for one, origin in layer.region.norms}
        found = []
        for role, count in zip(roles, counts, strict=True):
            heads = heads_of(rows[role], count)
            norm = norms.get(origins[role])
            if norm is not None:
                heads = root_mean_square(heads, norm.weight.array(), norm.epsilon)
            found.append(heads)
        return found


def _apart(one: Array, other: Array) -> float:
    """How far, beside the largest number; infinite where one is none."""
    if not np.isfinite(other).all():
        return np.inf
    return float(np.abs(one - other).max() / max(float(np.abs(one).max()), 1e-30))
