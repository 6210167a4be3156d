"""The walk from the logits back to the tokens: it finds a decoder of the Llama family, or refuses.

Whatever lies between the weights must be one of the parts in parts.py. What lies between the
products of queries, keys and values and that of the output is a region: it is computed, in
attention_trial.py, and not recognized.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.exporting.checkpoints.onnx_exports.files.model_file import OnnxModel, named
from penstock.exporting.checkpoints.onnx_exports.matrices import (
    BITS_LOOKUP,
    Matrix,
    bits_lookup,
    plain_matrix,
)
from penstock.exporting.checkpoints.onnx_exports.parts import (
    Norm,
    Projection,
    Stream,
    activated,
    norm,
    projection,
    stream,
)
from penstock.exporting.checkpoints.onnx_exports.regions import Region, origin, region_of
from penstock.exporting.errors import Unsupported

TOKENS: Final = "input_ids"
LOGITS: Final = "logits"
_MOST_LAYERS: Final = 1024
_BOTH: Final = (0, 1)
_FEW_OPS: Final = 24


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer has.

    Attributes:
        region: between queries, keys, values and the output's product.
        projected: queries, keys and values, or one product that has all three.
    """

    into_attention: Norm
    region: Region
    projected: Sequence[Projection]
    output: Projection
    into_feed_forward: Norm
    gate: Projection
    up: Projection
    down: Projection

    def others(self) -> dict[str, Projection]:
        """Products besides those of queries, keys and values, as the exporter calls them."""
        return {
            "attn_output": self.output,
            "ffn_gate": self.gate,
            "ffn_up": self.up,
            "ffn_down": self.down,
        }


@dataclass(frozen=True, slots=True)
class Decoder:
    """A whole one.

    Attributes:
        hidden: values that are hidden states, which regions ask for their shapes alone.
    """

    table: Matrix
    layers: Sequence[Layer]
    last_norm: Norm
    head: Projection
    hidden: frozenset[str]

    def products(self) -> Iterator[Projection]:
        """All of the layers."""
        for layer in self.layers:
            yield from layer.projected
            yield from layer.others().values()

    def norms(self) -> Iterator[Norm]:
        """All there are, those of single heads among them."""
        for layer in self.layers:
            yield from (layer.into_attention, layer.into_feed_forward)
            yield from (one for one, _ in layer.region.norms)
        yield self.last_norm


def decoder_of(model: OnnxModel) -> Decoder:
    """The decoder that *model* is.

    Raises:
        CannotExport: it is none of the Llama family, as far as that is understood.
    """
    return _Walk(model).decoder()


class _Walk:
    def __init__(self, model: OnnxModel) -> None:
        self._model = model
        self._hidden: set[str] = set()

    def decoder(self) -> Decoder:
        if LOGITS not in self._model.outputs or TOKENS not in self._model.inputs:
            raise Unsupported(
                f"{self._model.file}: it has no {TOKENS} and {LOGITS}",
                "give the decoder of a language model, exported with its embeddings and head",
            )
        head = self._projection(LOGITS, "the logits")
        last = self._norm(head.source, "the logits")
        layers: list[Layer] = []
        left = last.stream
        while len(left) == 2:
            if len(layers) == _MOST_LAYERS:
                raise Unsupported(f"{self._model.file}: it has more than {_MOST_LAYERS} layers")
            layer, left = self._layer(left, f"layer {len(layers)} from the end")
            layers.append(layer)
        return Decoder(self._table(left[0]), layers[::-1], last, head, frozenset(self._hidden))

    def _layer(self, left: Stream, where: str) -> tuple[Layer, Stream]:
        """The layer whose results are added up to *left*, and what goes into it."""
        before, down = self._branch(left, where)
        gate, up = self._gated(down.source, where)
        into = self._norm(gate.source, where)
        if up.source != gate.source or into.stream != before:
            raise self._unlike(where, "a feed-forward part that reads something else than is added")
        before, output = self._branch(before, where)
        region = region_of(self._model, output.source, self._is_hidden)
        sources = {one.source for one in region.products}
        if len(region.products) not in (1, 3) or len(sources) != 1:
            raise self._unlike(
                where,
                f"attention with {len(region.products)} products of weights; three are read, or "
                "one that has all (merge a LoRA before the export)",
            )
        into_attention = self._norm(sources.pop(), where)
        if into_attention.stream != before:
            raise self._unlike(where, "attention that reads something else than is added")
        parts = into_attention, region, region.products, output, into, gate, up, down
        return Layer(*parts), before

    def _branch(self, left: Stream, where: str) -> tuple[Stream, Projection]:
        """The term of a sum that is a product, and what the other one is."""
        if len(left) == 2:
            for number in _BOTH:
                product = projection(self._model, left[number])
                if product is not None:
                    other = left[1 - number]
                    self._hidden.add(other)
                    return stream(self._model, other), product
        raise self._unlike(where, f"no product that is added to hidden states ({named(left)})")

    def _gated(self, value: str, where: str) -> tuple[Projection, Projection]:
        """Of SiLU(gate) * up: both products."""
        op = self._model.op(value)
        for number in _BOTH if op is not None and op.kind == "Mul" else ():
            gated = activated(self._model, op.input(number)) if op else None
            gate = None if gated is None else projection(self._model, gated)
            up = projection(self._model, op.input(1 - number)) if op else None
            if gate is not None and up is not None:
                return gate, up
        kinds = self._kinds(value)
        raise self._unlike(where, f"a feed-forward part of {kinds}; read is SiLU(gate) * up")

    def _kinds(self, value: str) -> str:
        """Some operations before *value*, up to products with weights, for people."""
        kinds: set[str] = set()
        pending, left = [value], _FEW_OPS
        while pending and left:
            left -= 1
            one = pending.pop(0)
            op = self._model.op(one)
            if op is not None and op.kind not in ("Constant", "Cast"):
                kinds.add(op.kind)
            if op is not None and projection(self._model, one) is None:
                pending.extend(op.inputs)
        return named(kinds) or "no operation"

    def _projection(self, value: str, where: str) -> Projection:
        found = projection(self._model, value)
        if found is None or found.bias is not None:
            raise self._unlike(where, f"{self._kinds(self._model.plain(value))} at its end")
        return found

    def _norm(self, value: str, where: str) -> Norm:
        found = norm(self._model, value)
        if found is None:
            kinds = self._kinds(self._model.plain(value))
            raise self._unlike(where, f"{kinds} where RMSNorm is read")
        self._hidden.update((value, self._model.plain(value), found.source, *found.stream))
        return found

    def _is_hidden(self, value: str) -> bool:
        """Whether *value* is a norm of hidden states, and of no head's queries or keys."""
        found = norm(self._model, value)
        if found is None or len(found.stream) == 2:
            return found is not None
        return projection(self._model, origin(self._model, found.source)[0]) is None

    def _table(self, value: str) -> Matrix:
        """The table of embeddings, which the walk ends at."""
        op = self._model.op(value)
        if op is not None and op.kind == BITS_LOOKUP and self._is_tokens(op.input(1)):
            return bits_lookup(self._model, op)
        if op is not None and op.kind == "Gather" and self._is_tokens(op.input(1)):
            table = plain_matrix(self._model, op.input(0), turned=False)
            if table is not None and op.attributes.get("axis", 0) == 0:
                return table
        raise self._unlike("the beginning", f"{self._kinds(value)} where embeddings are looked up")

    def _is_tokens(self, value: str) -> bool:
        while (op := self._model.op(value)) is not None and op.kind in ("Cast", "Identity"):
            value = op.input(0)
        return value == TOKENS

    def _unlike(self, where: str, what: str) -> Unsupported:
        return Unsupported(
            f"{self._model.file}: {where} has {what}",
            "the weights that it was made from can be exported where they are of the Llama family",
        )
