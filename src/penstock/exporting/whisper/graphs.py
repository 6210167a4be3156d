"""Whisper's two graphs: what is heard to keys and values, and tokens to logits.

The encoder, once for each answer:

spectrum float32[1, mels, frames]
-> heard_keys_N, heard_values_N     float32[1, heads, positions, head_size], for the decoder's layer

The decoder, as a stage of any language model (graphs/stage.py), with these as inputs as well:

heard_keys_N, heard_values_N        float32[batch, heads, positions, head_size]
"""

import numpy as np

from penstock.exporting.graphs.attention import Attention
from penstock.exporting.graphs.graph import Graph
from penstock.exporting.graphs.stage import Read
from penstock.exporting.whisper.architecture import DECODER, ENCODER, Whisper


class _Layers:
    """Parts that encoder and decoder have in common."""

    def __init__(self, graph: Graph, shape: Whisper, read: Read) -> None:
        self.graph = graph
        self.shape = shape
        self.read = read

    def weight(self, name: str) -> str:
        return self.graph.weight(name, self.read(name))

    def norm(self, name: str, hidden: str) -> str:
        weights = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        epsilon = self.shape.epsilon
        return self.graph.op("LayerNormalization", hidden, *weights, axis=-1, epsilon=epsilon)

    def linear(self, name: str, hidden: str) -> str:
        matrix = np.ascontiguousarray(self.read(f"{name}.weight").T)
        product = self.graph.op("MatMul", hidden, self.graph.weight(f"{name}.weight", matrix))
        if name.endswith("k_proj"):
            return product
        return self.graph.op("Add", product, self.weight(f"{name}.bias"))

    def feed_forward(self, prefix: str, hidden: str) -> str:
        into = self.norm(f"{prefix}final_layer_norm", hidden)
        inner = self.graph.op("Gelu", self.linear(f"{prefix}fc1", into))
        return self.graph.op("Add", hidden, self.linear(f"{prefix}fc2", inner))

    def heads(self, projected: str, count: int, size: int) -> str:
        """[1, length, width] as [1, heads, length, size]."""
        shape = self.graph.constant([0, 0, count, size])
        return self.graph.op(
            "Transpose", self.graph.op("Reshape", projected, shape), perm=[0, 2, 1, 3]
        )


def write_encoder(graph: Graph, shape: Whisper, read: Read) -> None:
    """Write the encoder, and what the decoder's layers make of it, into *graph*."""
    layers = _Layers(graph, shape, read)
    frames = 2 * shape.positions
    hidden = graph.input("spectrum", np.float32, [1, shape.mels, frames])
    for number, stride in ((1, 1), (2, 2)):
        name = f"{ENCODER}conv{number}"
        weights = layers.weight(f"{name}.weight"), layers.weight(f"{name}.bias")
        hidden = graph.op("Conv", hidden, *weights, strides=[stride], pads=[1, 1], kernel_shape=[3])
        hidden = graph.op("Gelu", hidden)
    hidden = graph.op("Transpose", hidden, perm=[0, 2, 1])
    hidden = graph.op("Add", hidden, layers.weight(f"{ENCODER}embed_positions.weight"))
    for number in range(shape.encoder_layers):
        hidden = _encoder_layer(layers, f"{ENCODER}layers.{number}.", hidden)
    hidden = layers.norm(f"{ENCODER}layer_norm", hidden)
    for number in range(shape.layers):
        for part in ("keys", "values"):
            name = f"{DECODER}layers.{number}.encoder_attn.{part[0]}_proj"
            heads = layers.heads(layers.linear(name, hidden), shape.heads, shape.head_size)
            graph.op("Identity", heads, out=f"heard_{part}_{number}")
            size = [1, shape.heads, shape.positions, shape.head_size]
            graph.output(f"heard_{part}_{number}", np.float32, size)


def _encoder_layer(layers: _Layers, prefix: str, hidden: str) -> str:
    graph, count = layers.graph, layers.shape.encoder_heads
    size = layers.shape.width // count
    into = layers.norm(f"{prefix}self_attn_layer_norm", hidden)
    queries, keys, values = (
        layers.heads(layers.linear(f"{prefix}self_attn.{part}_proj", into), count, size)
        for part in "qkv"
    )
    scores = graph.op("MatMul", queries, graph.op("Transpose", keys, perm=[0, 1, 3, 2]))
    scores = graph.op("Mul", scores, graph.constant(size**-0.5, np.float32))
    mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), values)
    mixed = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = graph.op("Reshape", mixed, graph.constant([0, 0, layers.shape.width]))
    mixed = layers.linear(f"{prefix}self_attn.out_proj", mixed)
    return layers.feed_forward(prefix, graph.op("Add", hidden, mixed))


def write_decoder(graph: Graph, shape: Whisper, read: Read) -> None:
    """Write the decoder into *graph*, as the only stage of a language model."""
    layers = _Layers(graph, shape, read)
    start = graph.input("start", np.int64, ["batch"])
    tokens = graph.input("tokens", np.int64, ["batch", "length"])
    attention = Attention(graph, shape, start, tokens)
    table = f"{DECODER}embed_positions.weight"
    places = graph.weight(table, read(table)[: shape.context])
    hidden = graph.op("Gather", layers.weight(f"{DECODER}embed_tokens.weight"), tokens)
    hidden = graph.op("Add", hidden, graph.op("Gather", places, attention.positions))
    for number in range(shape.layers):
        hidden = _decoder_layer(layers, attention, number, hidden)
    wanted = graph.input("wanted", np.int64, ["rows", 2])
    rows = layers.norm(f"{DECODER}layer_norm", graph.op("GatherND", hidden, wanted))
    head = np.ascontiguousarray(read(f"{DECODER}embed_tokens.weight").T)
    graph.op("MatMul", rows, graph.weight("head", head), out="logits")
    graph.output("logits", np.float32, ["rows", shape.vocabulary])
    attention.bind(range(shape.layers))


def _decoder_layer(layers: _Layers, attention: Attention, number: int, hidden: str) -> str:
    graph, shape, prefix = layers.graph, layers.shape, f"{DECODER}layers.{number}."
    into = layers.norm(f"{prefix}self_attn_layer_norm", hidden)
    projected = [layers.linear(f"{prefix}self_attn.{part}_proj", into) for part in "qkv"]
    mixed = attention.layer(number, projected, layers.norm)
    hidden = graph.op("Add", hidden, layers.linear(f"{prefix}self_attn.out_proj", mixed))
    size: list[int | str] = ["batch", shape.heads, shape.positions, shape.head_size]
    keys, values = (
        graph.input(f"heard_{part}_{number}", np.float32, size) for part in ("keys", "values")
    )
    into = layers.norm(f"{prefix}encoder_attn_layer_norm", hidden)
    queries = layers.linear(f"{prefix}encoder_attn.q_proj", into)
    mixed = attention.across(queries, keys, values)
    hidden = graph.op("Add", hidden, layers.linear(f"{prefix}encoder_attn.out_proj", mixed))
    return layers.feed_forward(prefix, hidden)
