"""A Hugging Face folder's config.json as an architecture; what the stages lack is refused."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from penstock.exporting.architecture import Architecture, Rotary
from penstock.exporting.checkpoints.checkpoint import number
from penstock.exporting.errors import CannotExport, Damaged, Unsupported

_ARCHITECTURES: Final = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
_MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A JSON object in a file, and the file's name for people."""

    name: str
    fields: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The object in *path*.

        Raises:
            CannotExport: it is not there, too large, or none.
        """
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise CannotExport(f"{path} cannot be read: {error.strerror}") from error
        if len(content) > _MOST_BYTES:
            raise CannotExport(f"{path} has more than {_MOST_BYTES >> 20} MiB: it is none")
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Damaged(path.name, "it is no JSON") from error
        if not isinstance(fields, dict):
            raise Damaged(path.name, "it is no JSON object")
        return cls(path.name, fields)

    @classmethod
    def read_if_there(cls, path: Path) -> Self:
        """The same, or an empty object where there is no file."""
        return cls.read(path) if path.is_file() else cls(path.name, {})

    def number(self, name: str, default: float | None = None) -> float:
        """The number *name*; *default* where there is none.

        Raises:
            Damaged: it is no number.
        """
        value = self.fields.get(name)
        return number(default if value is None else value, name, self.name)


def architecture_of(
    config: JsonFile, *, tied: bool, biased: frozenset[str], normed: bool
) -> Architecture:
    """What *config* says, beside what follows from the tensors that are there.

    Raises:
        CannotExport: the model has something that the stages would compute without.
    """
    named = config.fields.get("architectures")
    name = _ARCHITECTURES.get(str(named[0]) if isinstance(named, list) and named else "")
    if name is None:
        known = ", ".join([*_ARCHITECTURES, "WhisperForConditionalGeneration"])
        raise Unsupported(f"{config.name}: its architectures are {named!r}", f"known are {known}")
    if config.fields.get("hidden_act", "silu") != "silu":
        raise Unsupported(f"{config.name}: hidden_act is {config.fields['hidden_act']!r}")
    heads, width = int(config.number("num_attention_heads")), int(config.number("hidden_size"))
    head_size = int(config.number("head_dim", width // max(heads, 1)))
    return Architecture(
        name=name,
        layers=int(config.number("num_hidden_layers")),
        width=width,
        heads=heads,
        kv_heads=int(config.number("num_key_value_heads", heads)),
        head_size=head_size,
        inner=int(config.number("intermediate_size")),
        vocabulary=int(config.number("vocab_size")),
        context=_context(config),
        epsilon=config.number("rms_norm_eps", 1e-6),
        rotary=_rotary(config, head_size),
        tied=tied,
        biased=biased,
        normed=normed,
    )


def _context(config: JsonFile) -> int:
    """Within a sliding window attention is as if there was none, so the context ends there."""
    context = int(config.number("max_position_embeddings"))
    if config.fields.get("use_sliding_window", True) and config.fields.get("sliding_window"):
        return min(context, int(config.number("sliding_window")))
    return context


def _rotary(config: JsonFile, head_size: int) -> Rotary:
    scaling = config.fields.get("rope_scaling") or config.fields.get("rope_parameters") or {}
    if not isinstance(scaling, dict):
        raise Damaged(config.name, "rope_scaling is no object")
    say = JsonFile(f"{config.name}: rope_scaling", scaling)
    base = config.number("rope_theta", say.number("rope_theta", 10000.0))
    if base <= 0 or config.number("partial_rotary_factor", 1.0) != 1.0:
        raise Unsupported(f"{config.name}: rotary positions of a part of each head")
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return Rotary(base)
    if kind == "linear":
        return Rotary(base, np.float64(say.number("factor")))  # type: ignore[arg-type]
    if kind == "llama3":
        return Rotary(base, _llama3(say, base, head_size))
    raise Unsupported(f"{config.name}: rope_scaling of type {kind!r}")


def _llama3(say: JsonFile, base: float, head_size: int) -> npt.NDArray[np.float64]:
    """Divisors of Llama 3's scaling: long waves by the factor, short ones by one."""
    factor, low = say.number("factor"), say.number("low_freq_factor")
    high, before = say.number("high_freq_factor"), say.number("original_max_position_embeddings")
    if factor <= 0 or high <= low:
        raise Damaged(say.name, "its factors cannot be so")
    waves = 2 * math.pi * base ** (np.arange(0, head_size, 2) / head_size)
    smooth = np.clip((before / waves - low) / (high - low), 0, 1)
    return np.asarray(1 / ((1 - smooth) / factor + smooth), dtype=np.float64)
