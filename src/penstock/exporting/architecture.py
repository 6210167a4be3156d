"""The architecture of a decoder of the Llama family, in the numbers that tell its members apart."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from penstock.exporting.errors import CannotExport

_MOST_WIDTH: Final = 1 << 17
_LIMITS: Final = {
    "layers": 1024,
    "width": _MOST_WIDTH,
    "heads": 1024,
    "kv_heads": 1024,
    "head_size": 4096,
    "inner": 1 << 20,
    "vocabulary": 1 << 22,
    "context": 1 << 24,
}


@dataclass(frozen=True, slots=True)
class Rotary:
    """How positions turn queries and keys: the rotary embedding (Su et al., 2021).

    Attributes:
        base: of the frequencies.
        divisors: float[head_size / 2]; what longer contexts divide frequencies by. None: by one.
        given: cosines and sines of a checkpoint that has these; base and divisors say nothing then.
    """

    base: float = 10000.0
    divisors: npt.NDArray[np.float64] | None = field(default=None, compare=False)
    given: tuple[npt.NDArray[np.float32], ...] | None = field(default=None, compare=False)

    def tables(self, positions: int, head_size: int) -> tuple[npt.NDArray[np.float32], ...]:
        """Cosines and sines, each float32[positions, head_size / 2]."""
        if self.given is not None:
            return tuple(table[:positions] for table in self.given)
        frequencies = 1 / self.base ** (np.arange(0, head_size, 2) / head_size)
        if self.divisors is not None:
            frequencies = frequencies / self.divisors
        angles = np.arange(positions)[:, None] * frequencies
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Architecture:
    """RMSNorm, grouped-query attention with rotary positions, SwiGLU.

    Attributes:
        inner: width inside the feed-forward part.
        context: the most tokens that a sequence may have.
        tied: the head is the table of the embeddings.
        biased: projections that have a bias, by their names.
        normed: queries and keys are normalized, head by head.
    """

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    vocabulary: int
    context: int
    epsilon: float
    rotary: Rotary
    tied: bool
    biased: frozenset[str] = frozenset()
    normed: bool = False

    def __post_init__(self) -> None:
        """Raise `CannotExport` for numbers that no such model has."""
        for name, most in _LIMITS.items():
            if not 1 <= getattr(self, name) <= most:
                raise CannotExport(
                    f"the checkpoint says that {name} is {getattr(self, name)}: no model of the "
                    f"Llama family has that, at most {most}"
                )
        if self.heads % self.kv_heads or self.head_size % 2:
            raise CannotExport(
                f"the checkpoint says {self.heads} heads, {self.kv_heads} of keys, of size "
                f"{self.head_size}: heads must be a multiple of those of keys, the size even"
            )

    @property
    def layer_work(self) -> int:
        """Multiplications of one token in the matrices of one layer."""
        attention = 2 * self.width * (self.heads + self.kv_heads) * self.head_size
        return attention + 3 * self.width * self.inner

    @property
    def head_work(self) -> int:
        """The same in the head; the table of the embeddings is only looked up."""
        return self.width * self.vocabulary

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Each tensor by its name in GGUF files, and its shape; a head only where it has one."""
        yield "token_embd.weight", (self.vocabulary, self.width)
        for layer in range(self.layers):
            for name, shape in self.layer_tensors():
                yield f"blk.{layer}.{name}", shape
        yield "output_norm.weight", (self.width,)
        if not self.tied:
            yield "output.weight", (self.vocabulary, self.width)

    def layer_tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Those of one layer."""
        width, queries = self.width, self.heads * self.head_size
        keys = self.kv_heads * self.head_size
        yield "attn_norm.weight", (width,)
        yield "ffn_norm.weight", (width,)
        shapes = {
            "attn_q": (queries, width),
            "attn_k": (keys, width),
            "attn_v": (keys, width),
            "attn_output": (width, queries),
            "ffn_gate": (self.inner, width),
            "ffn_up": (self.inner, width),
            "ffn_down": (width, self.inner),
        }
        for name, shape in shapes.items():
            yield f"{name}.weight", shape
            if name in self.biased:
                yield f"{name}.bias", shape[:1]
        if self.normed:
            yield "attn_q_norm.weight", (self.head_size,)
            yield "attn_k_norm.weight", (self.head_size,)


PROJECTIONS: Final = (
    *("attn_q", "attn_k", "attn_v", "attn_output"),
    *("ffn_gate", "ffn_up", "ffn_down"),
)
"""The matrices of a layer."""
