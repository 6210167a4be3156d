"""Whisper's layout in plain numpy, and its decoder's rules in plain Python, of nothing of ours.

No cache, no batches, no graph: all of the answer is computed anew for each token.
"""

import math
from dataclasses import dataclass

import numpy as np

RATE, WINDOW, HOP = 16000, 400, 160


def spectrum(samples, mels, frames):
    """The log-mel spectrum, float64[mels, frames], by a matrix of cosines and sines."""
    signal = np.zeros(frames * HOP)
    signal[: len(samples)] = samples
    half = WINDOW // 2
    signal = np.concatenate([signal[1 : half + 1][::-1], signal, signal[-half - 1 : -1][::-1]])
    times = np.arange(WINDOW)
    hann = np.sin(np.pi * times / WINDOW) ** 2
    waves = np.exp(-2j * np.pi * np.outer(times, np.arange(half + 1)) / WINDOW)
    rows = np.stack([signal[n * HOP : n * HOP + WINDOW] * hann for n in range(frames)])
    power = np.abs(rows @ waves) ** 2
    logs = np.log10(np.maximum(filters(mels) @ power.T, 1e-10))
    return (np.maximum(logs, logs.max() - 8) + 4) / 4


def filters(mels):
    """Triangles between neighbours on Slaney's scale, each of the same area."""

    def hz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * math.log(RATE / 2 / 1000) / math.log(6.4)
    edges = [hz(top * n / (mels + 1)) for n in range(mels + 2)]
    found = np.zeros((mels, WINDOW // 2 + 1))
    for band in range(mels):
        low, middle, high = edges[band : band + 3]
        for n in range(WINDOW // 2 + 1):
            f = n * RATE / WINDOW
            rise, fall = (f - low) / (middle - low), (high - f) / (high - middle)
            found[band, n] = max(0.0, min(rise, fall)) * 2 / (high - low)
    return found


@dataclass
class ReferenceWhisper:
    """One model: weights by the names of Hugging Face folders, and a `tiny_whisper.Shape`."""

    weights: dict
    shape: object

    def hear(self, samples):
        """What the encoder makes of *samples*: float64[positions, width]."""
        x = spectrum(samples, self.shape.mels, 2 * self.shape.positions)
        for number, stride in ((1, 1), (2, 2)):
            x = _gelu(self._conv(f"model.encoder.conv{number}", x, stride))
        x = x.T + self.weights["model.encoder.embed_positions.weight"]
        for n in range(self.shape.encoder_layers):
            prefix = f"model.encoder.layers.{n}."
            into = self._norm(f"{prefix}self_attn_layer_norm", x)
            x = x + self._attend(f"{prefix}self_attn", into, into, self.shape.encoder_heads)
            x = self._feed(prefix, x)
        return self._norm("model.encoder.layer_norm", x)

    def logits(self, heard, tokens):
        """float64[len(tokens), vocabulary]: behind each token."""
        prefix = "model.decoder."
        table = self.weights[f"{prefix}embed_tokens.weight"].astype(np.float64)
        x = table[tokens] + self.weights[f"{prefix}embed_positions.weight"][: len(tokens)]
        for n in range(self.shape.layers):
            layer = f"{prefix}layers.{n}."
            into = self._norm(f"{layer}self_attn_layer_norm", x)
            x = x + self._attend(f"{layer}self_attn", into, into, self.shape.heads, causal=True)
            into = self._norm(f"{layer}encoder_attn_layer_norm", x)
            x = x + self._attend(f"{layer}encoder_attn", into, heard, self.shape.heads)
            x = self._feed(layer, x)
        return self._norm(f"{prefix}layer_norm", x) @ table.T

    def _conv(self, name, x, stride):
        kernel, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        padded = np.pad(x, ((0, 0), (1, 1)))
        starts = range(0, x.shape[1], stride)
        return np.stack(
            [np.einsum("oik,ik->o", kernel, padded[:, at : at + 3]) + bias for at in starts], 1
        )

    def _attend(self, name, x, memory, heads, *, causal=False):
        q, k, v = (
            self._linear(f"{name}.{part}_proj", source).reshape(len(source), heads, -1)
            for part, source in (("q", x), ("k", memory), ("v", memory))
        )
        scores = np.einsum("lhd,thd->hlt", q, k) / q.shape[-1] ** 0.5
        if causal:
            scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = np.einsum("hlt,thd->lhd", shares, v).reshape(len(x), -1)
        return self._linear(f"{name}.out_proj", mixed)

    def _feed(self, prefix, x):
        into = self._norm(f"{prefix}final_layer_norm", x)
        return x + self._linear(f"{prefix}fc2", _gelu(self._linear(f"{prefix}fc1", into)))

    def _linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0)

    def _norm(self, name, x):
        away = x - x.mean(-1, keepdims=True)
        even = away / np.sqrt((away**2).mean(-1, keepdims=True) + 1e-5)
        return even * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def _gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / 2**0.5)) / 2


@dataclass
class PlainRules:
    """Which tokens may follow, written down as OpenAI's decoder has it.

    Attributes:
        token: name -> token.
        languages: their tokens; empty for a model of English.
        never, never_first: tokens that are suppressed.
    """

    token: dict
    languages: list
    never: list
    never_first: list

    def may(self, logits, said, *, timestamps):
        """The tokens that may follow what was *said* behind <|startoftranscript|>."""
        head = [self.languages, [self.token["<|transcribe|>"]]] if self.languages else []
        head += [] if timestamps else [[self.token["<|notimestamps|>"]]]
        if len(said) < len(head):
            return set(head[len(said)])
        text, end = said[len(head) :], self.token["<|endoftext|>"]
        first = self.token["<|notimestamps|>"] + 1
        words, times = set(range(end + 1)), set(range(first, len(logits)))
        words -= set(self.never)
        if not text:
            words -= set(self.never_first)
        if not timestamps:
            return words
        if not text:
            return {time for time in times if time <= first + 50}
        before = [one for one in text if one >= first]
        if text[-1] >= first and (len(text) < 2 or text[-2] >= first):
            times = set()
        elif text[-1] >= first:
            words &= {end}
            times = {time for time in times if time >= before[-1]}
        elif before:
            times = {time for time in times if time > before[-1]}
        # Where a timestamp is likelier than any single word, it is one.
        if times and words:
            of_times = np.log(np.exp(logits[sorted(times)]).sum())
            if of_times > logits[sorted(words)].max():
                return times
        return words | times


def rules_of(shape, library, suppressed):
    """Those of a `tiny_whisper.Shape`."""
    names = {library.id_to_token(n): n for n in range(library.get_vocab_size())}
    languages = [names[f"<|{code}|>"] for code in ("en", "de", "fr")] if shape.multilingual else []
    return PlainRules(names, languages, *suppressed)
