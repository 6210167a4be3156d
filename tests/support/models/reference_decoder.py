"""A plain decoder of the Llama family in numpy: what exported stages are held against.

It has nothing of ours: no cache in place, no batches, no graph. A token at a time or many.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Reference:
    """One model: weights by the names of Hugging Face folders, and its numbers.

    Attributes:
        interleaved: rotary pairs lie beside each other, as in llama.cpp's files.
    """

    weights: dict
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    base: float
    epsilon: float = 1e-5
    interleaved: bool = False

    def greedy(self, prompt, count):
        """The next *count* tokens, and how far each was ahead of the second."""
        cache = [None] * self.layers
        logits = self.step(cache, list(prompt), 0)[-1]
        found, ahead = [], []
        for n in range(count):
            best = np.sort(logits)[-2:]
            ahead.append(float(best[1] - best[0]))
            found.append(int(logits.argmax()))
            logits = self.step(cache, found[-1:], len(prompt) + n)[-1]
        return found, ahead

    def likeliest(self, prompt, answer):
        """Behind the prompt, and behind each token of *answer* but the last: the likeliest token.

        With it, how far it is ahead of the second. If these are the answer's tokens, `greedy` gives
        that answer: one pass over all of it instead of one for each token.
        """
        logits = self.step([None] * self.layers, [*prompt, *answer[:-1]], 0)[len(prompt) - 1 :]
        best = np.sort(logits, axis=-1)[:, -2:]
        return logits.argmax(-1).tolist(), (best[:, 1] - best[:, 0]).tolist()

    def step(self, cache, tokens, start):
        """Logits of each of *tokens*; *cache* has all before them, and has them afterwards."""
        positions = start + np.arange(len(tokens))
        hidden = self.weights["model.embed_tokens.weight"][tokens]
        for layer in range(self.layers):
            hidden = self._layer(cache, layer, hidden, positions)
        table = self.weights.get("lm_head.weight", self.weights["model.embed_tokens.weight"])
        return self._norm(hidden, self.weights["model.norm.weight"]) @ table.T

    def _layer(self, cache, layer, hidden, positions):
        def get(name):
            return self.weights.get(f"model.layers.{layer}.{name}")

        def linear(x, name):
            product, bias = x @ get(f"{name}.weight").T, get(f"{name}.bias")
            return product if bias is None else product + bias

        into = self._norm(hidden, get("input_layernorm.weight"))
        heads = [linear(into, f"self_attn.{part}_proj") for part in "qkv"]
        queries, keys, values = (x.reshape(len(x), -1, self.head_size) for x in heads)
        if (weight := get("self_attn.q_norm.weight")) is not None:
            queries = self._norm(queries, weight)
            keys = self._norm(keys, get("self_attn.k_norm.weight"))
        queries, keys = self._turn(queries, positions), self._turn(keys, positions)
        if cache[layer] is not None:
            keys = np.concatenate([cache[layer][0], keys])
            values = np.concatenate([cache[layer][1], values])
        cache[layer] = keys, values
        group = self.heads // self.kv_heads
        scores = np.einsum("lhd,thd->hlt", queries, np.repeat(keys, group, 1))
        scores = scores / self.head_size**0.5
        seen = np.arange(len(keys))[None, None] <= positions[None, :, None]
        scores = np.where(seen, scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares = shares / shares.sum(-1, keepdims=True)
        mixed = np.einsum("hlt,thd->lhd", shares, np.repeat(values, group, 1))
        hidden = hidden + linear(mixed.reshape(len(hidden), -1), "self_attn.o_proj")
        into = self._norm(hidden, get("post_attention_layernorm.weight"))
        gate = linear(into, "mlp.gate_proj")
        inner = gate / (1 + np.exp(-gate)) * linear(into, "mlp.up_proj")
        return hidden + linear(inner, "mlp.down_proj")

    def _norm(self, x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon) * weight

    def _turn(self, x, positions):
        waves = 1 / self.base ** (np.arange(0, self.head_size, 2) / self.head_size)
        angles = positions[:, None, None] * waves
        cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        half = self.head_size // 2
        one, other = (
            (x[..., 0::2], x[..., 1::2]) if self.interleaved else (x[..., :half], x[..., half:])
        )
        turned = np.empty_like(x)
        places = (
            (slice(0, None, 2), slice(1, None, 2))
            if self.interleaved
            else (slice(None, half), slice(half, None))
        )
        turned[..., places[0]] = one * cosines - other * sines
        turned[..., places[1]] = other * cosines + one * sines
        return turned


def reference_of(shape, weights):
    """The reference of a `tiny_language.Shape`."""
    sizes = shape.layers, shape.heads, shape.kv_heads, shape.head_size
    return Reference(weights, *sizes, base=1000.0)
