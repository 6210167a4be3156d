"""A plain decoder of the Llama family in numpy, and a plain sampler: what answers are held against.

They have nothing of ours. The decoder: no cache in place, no batches, no graph; a token at a time
or many. The sampler: Philox 4x64-10 as its paper has it, in Python's whole numbers; all scores
sorted; sums in float64.
"""

from dataclasses import dataclass

import numpy as np

_WORD = (1 << 64) - 1
_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_SHARE = 1e-4
"""How far rounding may shift sums of chances that are 1 together."""


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

    def logits(self, prompt, answer):
        """Behind the prompt, and behind each token of *answer* but the last: a row of logits.

        If they lead to the answer's tokens, a token at a time leads to that answer: this is one
        pass over all of it.
        """
        return self.step([None] * self.layers, [*prompt, *answer[:-1]], 0, len(prompt) - 1)

    def step(self, cache, tokens, start, first=0):
        """Logits of *tokens* from the *first*; *cache* has all before them, and then them, too."""
        positions = start + np.arange(len(tokens))
        hidden = self.weights["model.embed_tokens.weight"][tokens]
        for layer in range(self.layers):
            hidden = self._layer(cache, layer, hidden, positions)
        table = self.weights.get("lm_head.weight", self.weights["model.embed_tokens.weight"])
        return self._norm(hidden[first:], self.weights["model.norm.weight"]) @ table.T

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


def uniform(seed, position):
    """The number from [0, 1) of a seed and a token's position in its answer."""
    counter, key = [position + 1, 0, 0, 0], [seed, 0]
    for _ in range(10):
        products = [_MULTIPLIERS[0] * counter[0], _MULTIPLIERS[1] * counter[2]]
        high, low = zip(*((one >> 64, one & _WORD) for one in products), strict=True)
        counter = [high[1] ^ counter[1] ^ key[0], low[1], high[0] ^ counter[3] ^ key[1], low[0]]
        key = [(one + step) & _WORD for one, step in zip(key, _WEYL, strict=True)]
    return (counter[0] >> 11) / (1 << 53)


def likeliest(logits, even):
    """The likeliest token, and whether no other is within *even* of it."""
    second, first = np.sort(logits)[-2:]
    return int(logits.argmax()), bool(first - second >= even)


def drawn(logits, number, temperature, top_p, even):
    """The token that *number* draws among the likeliest that have *top_p* together.

    With it, whether rounding may not have chosen another: logits within *even* of each other may
    change places, and sums of chances come out otherwise in their last digits.
    """
    order = np.argsort(-logits, kind="stable")
    scores = logits[order].astype(np.float64) / temperature
    sums = np.cumsum(np.exp(scores - scores[0]))
    sums = sums / sums[-1]

    def place(number, top_p):
        kept = int(np.searchsorted(sums, top_p)) + 1
        return int(np.searchsorted(sums[:kept], number * sums[kept - 1], side="right"))

    least, most = number - _SHARE, number + _SHARE
    places = {
        min(place(one, share), len(order) - 1)
        for one in (least, number, most)
        for share in (top_p - _SHARE, top_p, top_p + _SHARE)
    }
    at = min(place(number, top_p), len(order) - 1)
    apart = np.diff(logits[order][max(0, at - 1) : at + 2])
    return int(order[at]), len(places) == 1 and bool((apart <= -even).all())
