"""The architecture of Whisper (Radford et al., 2022), in the numbers that tell its sizes apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from penstock.exporting.errors import CannotExport

_LIMITS: Final = {
    "layers": 256,
    "encoder_layers": 256,
    "width": 1 << 14,
    "heads": 256,
    "encoder_heads": 256,
    "inner": 1 << 17,
    "encoder_inner": 1 << 17,
    "vocabulary": 1 << 20,
    "context": 1 << 14,
    "mels": 512,
    "positions": 6000,
}
_EVERYBODYS: Final = 51_865
"""Models of many languages have so many tokens at least; English ones have one fewer."""

ENCODER, DECODER = "model.encoder.", "model.decoder."


@dataclass(frozen=True, slots=True)
class Whisper:
    """LayerNorm before each part, GELU, learned positions, attention with biases but for keys.

    Attributes:
        layers, heads, inner: of the decoder.
        context: the most tokens of prompt and answer.
        mels: bands of the spectrum.
        positions: that the encoder makes of a window, of two frames each.
        multilingual: it knows many languages, and tasks; None where the checkpoint does not say.
    """

    layers: int
    encoder_layers: int
    width: int
    heads: int
    encoder_heads: int
    inner: int
    encoder_inner: int
    vocabulary: int
    context: int
    mels: int
    positions: int
    multilingual: bool | None = None

    name = "whisper"
    epsilon = 1e-5
    rotary = None
    normed = False

    def __post_init__(self) -> None:
        """Raise `CannotExport` for numbers that no such model has."""
        for name, most in _LIMITS.items():
            if not 1 <= getattr(self, name) <= most:
                raise CannotExport(
                    f"the checkpoint says that {name} is {getattr(self, name)}: no model of "
                    f"Whisper's layout has that, at most {most}"
                )
        if self.width % self.heads or self.width % self.encoder_heads:
            raise CannotExport(
                f"the checkpoint says a width of {self.width} and {self.encoder_heads} and "
                f"{self.heads} heads: the width must be a multiple of both"
            )

    @property
    def kv_heads(self) -> int:
        """Heads of keys: as many as of queries."""
        return self.heads

    @property
    def head_size(self) -> int:
        """Of the decoder."""
        return self.width // self.heads

    @property
    def knows_languages(self) -> bool:
        """Whether it knows others than English."""
        if self.multilingual is not None:
            return self.multilingual
        return self.vocabulary >= _EVERYBODYS

    @property
    def layer_work(self) -> int:
        """Multiplications of one token in the matrices of one layer of the decoder."""
        return 2 * self.width * (3 * self.width + self.inner)

    @property
    def head_work(self) -> int:
        """The same in the head."""
        return self.width * self.vocabulary

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Each tensor by its name in Hugging Face's folders, and its shape."""
        width = self.width
        yield from _biased(f"{ENCODER}conv1", (width, self.mels, 3))
        yield from _biased(f"{ENCODER}conv2", (width, width, 3))
        yield f"{ENCODER}embed_positions.weight", (self.positions, width)
        for layer in range(self.encoder_layers):
            yield from self._layer(f"{ENCODER}layers.{layer}.", self.encoder_inner)
        yield from _biased(f"{ENCODER}layer_norm", (width,))
        yield f"{DECODER}embed_tokens.weight", (self.vocabulary, width)
        yield f"{DECODER}embed_positions.weight", (self.context, width)
        for layer in range(self.layers):
            prefix = f"{DECODER}layers.{layer}."
            yield from self._layer(prefix, self.inner)
            yield from self._attention(f"{prefix}encoder_attn")
        yield from _biased(f"{DECODER}layer_norm", (width,))

    def _layer(self, prefix: str, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from self._attention(f"{prefix}self_attn")
        yield from _biased(f"{prefix}fc1", (inner, self.width))
        yield from _biased(f"{prefix}fc2", (self.width, inner))
        yield from _biased(f"{prefix}final_layer_norm", (self.width,))

    def _attention(self, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        square = self.width, self.width
        yield from _biased(f"{name}_layer_norm", (self.width,))
        for part in ("q_proj", "v_proj", "out_proj"):
            yield from _biased(f"{name}.{part}", square)
        yield f"{name}.k_proj.weight", square


def _biased(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]
