"""Parts of a decoder's layer, each found in the ways that exports write it."""

from typing import Final, NamedTuple

from penstock.exporting.checkpoints.onnx_exports.files.model_file import MICROSOFT, OnnxModel, Op
from penstock.exporting.checkpoints.onnx_exports.files.stored import Stored
from penstock.exporting.checkpoints.onnx_exports.matrices import (
    BITS_PRODUCT,
    Matrix,
    bits_product,
    plain_matrix,
)

_SKIPPING: Final = f"{MICROSOFT}SkipSimplifiedLayerNormalization"
_NORMS: Final = ("SimplifiedLayerNormalization", "RMSNormalization")
_SKIP_SUM: Final = 3

Stream = tuple[str, ...]
"""Hidden states: the two values whose sum they are, or one that is no sum."""


class Projection(NamedTuple):
    """A product with a matrix of weights.

    Attributes:
        value: what comes out, the bias added.
        source: what goes in.
    """

    value: str
    source: str
    matrix: Matrix
    bias: Stored | None


class Norm(NamedTuple):
    """Hidden states by their root mean square.

    Attributes:
        source: what is normalized; "" where it is the sum *stream* itself.
    """

    source: str
    stream: Stream
    weight: Stored
    epsilon: float


def projection(model: OnnxModel, value: str) -> Projection | None:
    """The product whose result is *value*, if it is one with stored weights; a bias is its part."""
    value = model.plain(value)
    op = model.op(value)
    if op is None or op.kind != "Add":
        return _product(model, value)
    for number in (0, 1):
        bias = model.array(op.input(number))
        product = None if bias is None else _product(model, model.plain(op.input(1 - number)))
        if product is not None and product.bias is None:
            return product._replace(value=value, bias=bias)
    return None


def _product(model: OnnxModel, value: str) -> Projection | None:
    op = model.op(value)
    if op is None:
        return None
    if op.kind == BITS_PRODUCT:
        bias = model.array(op.input(5)) if op.input(5) else None
        return Projection(value, model.plain(op.input(0)), bits_product(model, op), bias)
    if op.kind == "MatMul":
        matrix = plain_matrix(model, op.input(1), turned=True)
        return Projection(value, model.plain(op.input(0)), matrix, None) if matrix else None
    return _general(model, value, op) if op.kind == "Gemm" else None


def _general(model: OnnxModel, value: str, op: Op) -> Projection | None:
    """A `Gemm`, as far as it is a product and a bias."""
    say = op.attributes
    if say.get("alpha", 1.0) != 1.0 or say.get("beta", 1.0) != 1.0 or say.get("transA", 0):
        return None
    matrix = plain_matrix(model, op.input(1), turned=not say.get("transB", 0))
    bias = model.array(op.input(2)) if op.input(2) else None
    if matrix is None or (op.input(2) and bias is None):
        return None
    return Projection(value, model.plain(op.input(0)), matrix, bias)


def stream(model: OnnxModel, value: str) -> Stream:
    """What *value* is the sum of."""
    value = model.plain(value)
    made = model.made_by.get(value)
    if made is None:
        return (value,)
    op, place = made
    if op.kind == "Add" or (op.kind == _SKIPPING and place == _SKIP_SUM and not op.input(4)):
        return tuple(sorted((model.plain(op.input(0)), model.plain(op.input(1)))))
    return (value,)


def norm(model: OnnxModel, value: str) -> Norm | None:
    """The norm whose result is *value*, if it is one: an operation, or several."""
    value = model.plain(value)
    made = model.made_by.get(value)
    if made is None:
        return None
    op, place = made
    if op.kind == _SKIPPING and place == 0 and not op.input(4):
        weight, epsilon = model.array(op.input(2)), op.real("epsilon", 1e-12)
        terms = tuple(sorted((model.plain(op.input(0)), model.plain(op.input(1)))))
        return weight and Norm("", terms, weight, epsilon)
    if op.kind in _NORMS and place == 0 and op.attributes.get("axis", -1) in (-1, 2):
        weight, epsilon = model.array(op.input(1)), op.real("epsilon", 1e-5)
        source = model.plain(op.input(0))
        return weight and Norm(source, stream(model, source), weight, epsilon)
    if op.kind != "Mul":
        return None
    for number in (0, 1):
        weight = model.array(op.input(number))
        found = _divided_by_root(model, op.input(1 - number))
        if weight is not None and len(weight.shape) == 1 and found is not None:
            source, epsilon = found
            return Norm(source, stream(model, source), weight, epsilon)
    return None


def _divided_by_root(model: OnnxModel, value: str) -> tuple[str, float] | None:
    """Of source / sqrt(mean(source ** 2) + epsilon): source, epsilon."""
    op = model.op(model.plain(value))
    if op is None or op.kind not in ("Mul", "Div"):
        return None
    for number in (0, 1) if op.kind == "Mul" else (0,):
        source, by = model.plain(op.input(number)), model.plain(op.input(1 - number))
        if op.kind == "Mul":
            by = _inverted(model, by)
        epsilon = _root_epsilon(model, by, source)
        if epsilon is not None:
            return source, epsilon
    return None


def _inverted(model: OnnxModel, value: str) -> str:
    """What *value* is one divided by; "" for nothing."""
    op = model.op(value)
    if op is not None and op.kind == "Reciprocal":
        return model.plain(op.input(0))
    if op is not None and op.kind == "Div" and model.number(op.input(0)) == 1:
        return model.plain(op.input(1))
    return ""


def _root_epsilon(model: OnnxModel, value: str, source: str) -> float | None:
    """The epsilon of the root mean square of *source*, if *value* is that."""
    root = model.op(value)
    total = model.op(model.plain(root.input(0))) if root and root.kind == "Sqrt" else None
    if total is None or total.kind != "Add":
        return None
    for number in (0, 1):
        epsilon = model.number(total.input(number))
        mean = model.op(model.plain(total.input(1 - number)))
        if epsilon is None or mean is None or mean.kind != "ReduceMean":
            continue
        square = model.op(model.plain(mean.input(0)))
        if _is_last(model, mean) and square is not None and _is_square(model, square, source):
            return epsilon
    return None


def _is_last(model: OnnxModel, mean: Op) -> bool:
    """Whether it is along the last axis, which stays."""
    axes = mean.attributes.get("axes")
    if mean.input(1):
        there = model.array(mean.input(1))
        axes = None if there is None else there.whole_numbers()
    return axes == [-1] and bool(mean.attributes.get("keepdims", 1))


def _is_square(model: OnnxModel, op: Op, source: str) -> bool:
    if model.plain(op.input(0)) != source:
        return False
    if op.kind == "Pow":
        return model.number(op.input(1)) == 2
    return op.kind == "Mul" and model.plain(op.input(1)) == source


def activated(model: OnnxModel, value: str) -> str | None:
    """What *value* is SiLU of, if it is that."""
    op = model.op(model.plain(value))
    if op is None:
        return None
    if op.kind == f"{MICROSOFT}QuickGelu" and op.attributes.get("alpha", 1.702) == 1.0:
        return model.plain(op.input(0))
    if op.kind == "Swish" and op.attributes.get("alpha", 1.0) == 1.0:
        return model.plain(op.input(0))
    if op.kind != "Mul":
        return None
    for number in (0, 1):
        gate, other = model.plain(op.input(number)), model.op(model.plain(op.input(1 - number)))
        if other is not None and other.kind == "Sigmoid" and model.plain(other.input(0)) == gate:
            return gate
    return None
