"""What of a graph lies between some values and one that follows from them."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from penstock.exporting.checkpoints.onnx_exports.files.model_file import OnnxModel, Op
from penstock.exporting.checkpoints.onnx_exports.parts import (
    Norm,
    Projection,
    norm,
    projection,
)
from penstock.exporting.errors import Unsupported

_MOST_OPS: Final = 1 << 14
_VIEWS: Final = ("Reshape", "Transpose", "Unsqueeze", "Squeeze")


class Region(NamedTuple):
    """The part of a graph that leads to one value.

    Attributes:
        products: with weights, of hidden states: the region begins there.
        inputs: of the graph, whose numbers count.
        norms: of single heads, each with the product that it leads back to, and which part of it.
    """

    value: str
    products: Sequence[Projection]
    inputs: frozenset[str]
    norms: Sequence[tuple[Norm, tuple[str, int]]]


def region_of(model: OnnxModel, value: str, is_hidden: Callable[[str], bool]) -> Region:
    """What leads to *value* from products of hidden states, and from inputs.

    What only its shape is asked of leads nowhere: it is in no region.

    Raises:
        Unsupported: it is larger than any layer's attention.
    """
    products: dict[str, Projection] = {}
    inputs: set[str] = set()
    norms: list[tuple[Norm, tuple[str, int]]] = []
    seen: set[str] = set()
    pending = [value]
    while pending:
        one = pending.pop()
        if one in seen or not one or one in model.stored:
            continue
        seen.add(one)
        if len(seen) > _MOST_OPS:
            raise Unsupported(f"{model.file}: the attention before {value[:80]} is too large")
        op = model.op(one)
        if op is None:
            inputs.add(one)
        elif (product := projection(model, one)) is not None and is_hidden(product.source):
            products[product.value] = product
        elif op.kind != "Shape":
            pending.extend(op.inputs)
            found = norm(model, one) if model.plain(one) == one else None
            if found is not None:
                norms.append((found, origin(model, found.source)))
    return Region(value, list(products.values()), frozenset(inputs), norms)


def origin(model: OnnxModel, value: str) -> tuple[str, int]:
    """The product that *value* is a view of, and which part of it."""
    part = 0
    while (made := model.made_by.get(model.plain(value))) is not None:
        op, place = made
        if op.kind == "Split":
            part = place
        elif op.kind not in _VIEWS:
            break
        value = op.input(0)
    return model.plain(value), part


def ops_to(model: OnnxModel, values: Sequence[str], known: Callable[[str], bool]) -> list[Op]:
    """The operations that make *values* of what is *known*, each before it is used."""
    found: dict[int, Op] = {}
    pending = list(values)
    while pending:
        one = pending.pop()
        op = None if not one or known(one) else model.op(one)
        if op is not None and op.number not in found:
            found[op.number] = op
            pending.extend(op.inputs)
            if len(found) > _MOST_OPS:
                raise Unsupported(f"{model.file}: what leads to {values[0][:80]} is too large")
    return [found[number] for number in sorted(found)]
