"""A decoder's weights by the names that the exporter has for them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from penstock.exporting.architecture import Architecture
from penstock.exporting.checkpoints.onnx_exports.attention_trial import Roles
from penstock.exporting.checkpoints.onnx_exports.decoder import Decoder, Layer
from penstock.exporting.checkpoints.onnx_exports.files.stored import Stored
from penstock.exporting.checkpoints.onnx_exports.matrices import Matrix, Part
from penstock.exporting.checkpoints.onnx_exports.parts import Projection
from penstock.exporting.errors import Unsupported
from penstock.exporting.graphs.matrices import Blocks, Floats

_ROWS: Final = 4096


class OnnxWeights:
    """The weights of one decoder.

    Attributes:
        shapes: by name.
    """

    def __init__(self, decoder: Decoder, shape: Architecture, roles: Sequence[Roles]) -> None:
        """Those of *decoder*, whose layers have queries, keys and values as *roles* says."""
        self._parts: dict[str, Part] = {}
        self._vectors: dict[str, tuple[Stored, slice]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._add_matrix("token_embd.weight", _whole(decoder.table))
        for number, layer in enumerate(decoder.layers):
            self._add_layer(f"blk.{number}.", layer, shape, roles[number])
        self._add_vector("output_norm.weight", decoder.last_norm.weight)
        if not shape.tied:
            self._add_matrix("output.weight", _whole(decoder.head.matrix))

    def read(self, name: str) -> Floats:
        """The tensor *name* as float32."""
        if name in self._vectors:
            stored, part = self._vectors[name]
            found: Floats = stored.array()[part]
            return found
        return self._parts[name].rows()

    def blocks(self, name: str) -> Blocks | None:
        """The same as whole numbers and scales, where it is stored so."""
        return self._parts[name].blocks() if name in self._parts else None

    def is_rounded(self, name: str) -> bool:
        """Whether *name* is stored in few bits already."""
        return name in self._parts and self._parts[name].matrix.bits is not None

    def _add_layer(self, prefix: str, layer: Layer, shape: Architecture, roles: Roles) -> None:
        self._add_vector(f"{prefix}attn_norm.weight", layer.into_attention.weight)
        self._add_vector(f"{prefix}ffn_norm.weight", layer.into_feed_forward.weight)
        for name, (part, origin) in attention_parts(layer, shape, roles).items():
            self._add_part(prefix + name, part)
            for norm, of in layer.region.norms:
                if of == origin:
                    self._add_vector(f"{prefix}{name}_norm.weight", norm.weight)
        for name, product in layer.others().items():
            self._add_part(prefix + name, _whole(product.matrix, product.bias))

    def _add_part(self, name: str, part: Part) -> None:
        self._add_matrix(f"{name}.weight", part)
        if part.bias is not None:
            self._add_vector(f"{name}.bias", part.bias, slice(part.begin, part.end))

    def _add_matrix(self, name: str, part: Part) -> None:
        self._parts[name] = part
        self.shapes[name] = part.shape

    def _add_vector(self, name: str, stored: Stored, part: slice = slice(None)) -> None:
        if len(stored.shape) != 1:
            raise Unsupported(f"{stored.name} has the shape {list(stored.shape)}: one row is read")
        self._vectors[name] = stored, part
        self.shapes[name] = (len(range(stored.shape[0])[part]),)


def _whole(matrix: Matrix, bias: Stored | None = None) -> Part:
    return Part(matrix, 0, matrix.shape[0], bias)


def attention_parts(
    layer: Layer, shape: Architecture, roles: Roles
) -> Mapping[str, tuple[Part, tuple[str, int]]]:
    """Queries, keys and values of *layer*, each with its origin as its region's norms name it."""
    names = ("attn_q", "attn_k", "attn_v")
    products = layer.projected
    if len(products) == 1:
        (packed,) = products
        ends = np.cumsum([0, shape.heads, shape.kv_heads, shape.kv_heads]) * shape.head_size
        return {
            name: (
                Part(packed.matrix, int(ends[n]), int(ends[n + 1]), packed.bias),
                (packed.value, n),
            )
            for n, name in enumerate(names)
        }
    chosen: Sequence[Projection] = [products[role] for role in roles]
    return {
        name: (_whole(one.matrix, one.bias), (one.value, 0))
        for name, one in zip(names, chosen, strict=True)
    }


def is_same(one: Matrix, other: Matrix) -> bool:
    """Whether two matrices have the same numbers; a piece of both is in memory at a time."""
    if one.key == other.key:
        return True
    return one.shape == other.shape and all(
        np.array_equal(a, b) for a, b in zip(_pieces(one), _pieces(other), strict=True)
    )


def _pieces(matrix: Matrix) -> Iterator[Floats]:
    for begin in range(0, matrix.shape[0], _ROWS):
        yield matrix.rows(begin, begin + _ROWS)
