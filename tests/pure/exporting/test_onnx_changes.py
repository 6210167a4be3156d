"""Exports with a change or two: refused, or answered as ONNX Runtime does with the very file."""

import random
import shutil

import numpy as np
import pytest
from onnx import numpy_helper
from support.exports.originals import Original, changed, refusals
from support.language.computed import logits_of

from penstock.exporting.checkpoints.opening import open_checkpoint
from penstock.exporting.errors import CannotExport
from penstock.exporting.export import Order, export

CHANGES = 120
NAMES = (
    *("genai-llama", "genai-qwen3", "genai-mistral", "optimum-qwen3", "optimum-llama3"),
    *("optimum-fused", "optimum-mistral", "optimum-one-each"),
)
OTHERS = {"Add": "Sub", "Sub": "Add", "Mul": "Div", "Cos": "Sin", "Sin": "Cos", "Neg": "Sqrt"}
OTHERS |= {"LessOrEqual": "Less", "Greater": "GreaterOrEqual", "Sigmoid": "Neg"}


class Change:
    """One or two changes of operations, drawn by *chance*."""

    def __init__(self, chance):
        self._chance = chance

    def __call__(self, graph):
        chance = self._chance
        for _ in range(chance.choice((1, 1, 2))):
            one, other = chance.choice(graph.node), chance.choice(graph.node)
            how = chance.choice((self._constant, self._attribute, self._swap, self._kind))
            if chance.random() < 0.8:
                how(one)
            elif one.input and other.output:
                one.input[chance.randrange(len(one.input))] = other.output[0]

    def _constant(self, node):
        if node.op_type == "Constant":
            tensor, chance = node.attribute[0].t, self._chance
            array = numpy_helper.to_array(tensor).copy()
            numbers = array.reshape(-1)
            if numbers.size and array.dtype.kind in "if":
                at, by = chance.randrange(numbers.size), chance.choice((2, -1, 1.01))
                is_float = array.dtype.kind == "f"
                numbers[at] = numbers[at] * by if is_float else numbers[at] + int(by)
                tensor.CopyFrom(numpy_helper.from_array(numbers.reshape(array.shape), tensor.name))

    def _attribute(self, node):
        if node.attribute:
            one = self._chance.choice(node.attribute)
            if one.type == one.INT:
                one.i += self._chance.choice((1, -1))
            elif one.type == one.FLOAT:
                one.f *= self._chance.choice((0.5, 1.01, 2))

    def _swap(self, node):
        if len(node.input) > 1:
            at = self._chance.randrange(len(node.input) - 1)
            one, other = node.input[at : at + 2]
            node.input[at], node.input[at + 1] = other, one

    def _kind(self, node):
        node.op_type = OTHERS.get(node.op_type, node.op_type)


def _logits(folder, directory, tokens):
    export(folder, Order(directory), lambda *_: None)
    return logits_of(directory, tokens)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_accepted_is_what_is_computed(name, exports, tmp_path):
    chance = random.Random(name)  # noqa: S311
    accepted = refused = 0
    for number in range(CHANGES // len(NAMES)):
        folder = shutil.copytree(exports / name, tmp_path / f"{number}")
        try:
            checkpoint = open_checkpoint(changed(folder, Change(chance)))
        except CannotExport:
            refused += 1
            continue
        try:
            original = Original(folder)
            tokens = [chance.randrange(269) for _ in range(checkpoint.architecture.context)]
            expected = original.logits(tokens)
        except refusals():
            continue  # it runs nowhere
        accepted += 1

        apart = np.abs(_logits(folder, tmp_path / f"{number}-1", tokens) - expected).max()
        assert apart < 1e-3 * max(1, np.abs(expected).max())
    assert accepted + refused > CHANGES / len(NAMES) / 2
