"""The numbers of a decoder's architecture: what its folder says, held against its graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from penstock.exporting.architecture import PROJECTIONS, Architecture, Rotary
from penstock.exporting.checkpoints.folder_config import JsonFile, architecture_of
from penstock.exporting.checkpoints.onnx_exports.attention_operations import (
    GROUPED,
    ROTARY,
    window_of,
)
from penstock.exporting.checkpoints.onnx_exports.decoder import Decoder
from penstock.exporting.checkpoints.onnx_exports.files.model_file import OnnxModel
from penstock.exporting.checkpoints.onnx_exports.regions import ops_to
from penstock.exporting.checkpoints.onnx_exports.weights import is_same
from penstock.exporting.errors import Damaged, Unsupported

_GENAI_TYPES: Final = ("llama", "mistral", "qwen2", "qwen3")
_SOME: Final = "some"
_TABLES: Final = {GROUPED: (7, 8), ROTARY: (2, 3)}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a graph itself shows of its architecture."""

    epsilon: float
    biased: frozenset[str]
    normed: bool
    same_table: bool


def optimum_architecture(model: OnnxModel, decoder: Decoder, config: JsonFile) -> Architecture:
    """As config.json says.

    Raises:
        CannotExport: it says something else than the graph does, or what cannot be exported.
    """
    is_tied = config.fields.get("tie_word_embeddings", False) is True
    seen = _seen(model, decoder, compares=is_tied)
    said = architecture_of(config, tied=seen.same_table, biased=seen.biased, normed=seen.normed)
    if np.float32(said.epsilon) != np.float32(seen.epsilon):
        raise Unsupported(
            f"{model.file}: its norms have the epsilon {seen.epsilon:.3g}, {config.name} says "
            f"{said.epsilon:.3g}: they do not belong together"
        )
    _check_layers(model, decoder, said.layers, config.name)
    return said


def genai_architecture(model: OnnxModel, decoder: Decoder, config: JsonFile) -> Architecture:
    """As genai_config.json says, and the graph; positions turn by the tables that it has."""
    whole = _part(config, config.fields.get("model"), "model")
    say = _part(config, whole.fields.get("decoder"), "model.decoder")
    name = whole.fields.get("type")
    if name not in _GENAI_TYPES:
        raise Unsupported(
            f"{config.name}: model.type is {name!r}", f"known are {', '.join(_GENAI_TYPES)}"
        )
    seen = _seen(model, decoder, compares=False)
    head_size = int(say.number("head_size"))
    cosines, sines, window = _tables(model, decoder, head_size)
    rooms = [int(whole.number("context_length")), len(cosines), *window]
    sliding = say.fields.get("sliding_window")
    if isinstance(sliding, dict):
        rooms.append(int(_part(config, sliding, "sliding_window").number("window_size")))
    layers = int(say.number("num_hidden_layers"))
    _check_layers(model, decoder, layers, config.name)
    heads = int(say.number("num_attention_heads"))
    return Architecture(
        name=name,
        layers=layers,
        width=int(say.number("hidden_size")),
        heads=heads,
        kv_heads=int(say.number("num_key_value_heads", heads)),
        head_size=head_size,
        inner=decoder.layers[0].gate.matrix.shape[0],
        vocabulary=int(whole.number("vocab_size")),
        context=min(rooms),
        epsilon=seen.epsilon,
        rotary=Rotary(given=(cosines, sines)),
        tied=seen.same_table,
        biased=seen.biased,
        normed=seen.normed,
    )


def _part(config: JsonFile, fields: Any, name: str) -> JsonFile:
    if not isinstance(fields, Mapping):
        raise Damaged(config.name, f"{name} is no object")
    return JsonFile(config.name, fields)


def _check_layers(model: OnnxModel, decoder: Decoder, said: int, by: str) -> None:
    if said != len(decoder.layers) or not said:
        raise Damaged(model.file, f"it has {len(decoder.layers)} layers, {by} says {said}")


def _seen(model: OnnxModel, decoder: Decoder, *, compares: bool) -> _Seen:
    """Raises `Unsupported` where layers differ in what they have."""
    epsilons = {float(np.float32(one.epsilon)) for one in decoder.norms()}
    biased = {_biased(decoder, number) for number in range(len(decoder.layers))}
    normed = {len(layer.region.norms) for layer in decoder.layers}
    is_even = len(epsilons) == len(biased) == 1 and _SOME not in next(iter(biased))
    if not is_even or normed not in ({0}, {2}):
        raise Unsupported(
            f"{model.file}: its layers differ in biases or norms, or have norms of another kind"
        )
    table, head = decoder.table, decoder.head.matrix
    same = is_same(table, head) if compares else table.key == head.key
    return _Seen(epsilons.pop(), biased.pop(), normed == {2}, same)


def _biased(decoder: Decoder, number: int) -> frozenset[str]:
    """Projections of a layer that have a bias; "some" among them where only some of attention's do.

    Which of three products is which is not known yet.
    """
    layer = decoder.layers[number]
    found = {name for name, one in layer.others().items() if one.bias is not None}
    into = {one.bias is not None for one in layer.projected}
    if True in into:
        found.update(PROJECTIONS[:3] if False not in into else (_SOME,))
    return frozenset(found)


def _tables(model: OnnxModel, decoder: Decoder, head_size: int) -> Any:
    """Cosines and sines, float32[positions, head_size / 2] each, and windows that there are."""
    names, windows = set(), set()
    known = {product.value for product in decoder.products()} | decoder.hidden
    for layer in decoder.layers:
        for op in ops_to(model, [layer.region.value], known.__contains__):
            if op.kind == ROTARY or (op.kind == GROUPED and op.attributes.get("do_rotary", 0)):
                names.add(tuple(model.plain(op.input(n)) for n in _TABLES[op.kind]))
            windows.add(window_of(op))
    found = [model.array(name) for name in next(iter(names), ())]
    if len(names) != 1 or len(found) != 2:
        raise Unsupported(f"{model.file}: its layers have {len(names)} tables of rotary positions")
    arrays = [one.array() for one in found if one is not None and len(one.shape) == 2]
    shapes = {array.shape for array in arrays}
    if len(arrays) != 2 or len(shapes) != 1 or shapes.pop()[1] != head_size // 2:
        raise Unsupported(f"{model.file}: rotary positions of a part of each head")
    return *arrays, windows - {None}
