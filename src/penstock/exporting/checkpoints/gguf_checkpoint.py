"""GGUF files of the Llama family as checkpoints: llama.cpp's format, weights quantized or not."""

import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from penstock.exporting.architecture import PROJECTIONS, Architecture, Rotary
from penstock.exporting.checkpoints.checkpoint import Checkpoint, Texts, number
from penstock.exporting.checkpoints.gguf_header import Header, TensorEntry, read_header
from penstock.exporting.checkpoints.gguf_tokenizer import tokenizer_json
from penstock.exporting.errors import CannotExport, Damaged, Unsupported
from penstock.exporting.graphs.matrices import Floats

_ARCHITECTURES: Final = ("llama", "qwen2", "qwen3")
_INTERLEAVED: Final = ("llama",)
"""Whose rotary pairs lie beside each other; those of the others are half a head apart."""

_END_FIELDS: Final = ("eos_token_id", "eot_token_id", "eom_token_id")
_VARIABLES: Final = {"bos_token": "bos_token_id", "eos_token": "eos_token_id"}
_FREQUENCIES: Final = "rope_freqs.weight"
_MOST_TEMPLATE: Final = 1 << 20


def open_gguf(path: Path) -> Checkpoint:
    """The checkpoint in the GGUF file *path*.

    Raises:
        CannotExport: it is damaged, no GGUF file, or of a model that cannot be exported.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise CannotExport(f"{path} cannot be read: {error}") from error
    header = read_header(memoryview(mapped), path.name)
    weights = _Weights(mapped, header, path.name)
    architecture = _architecture(header, weights, path.name)

    def read(name: str) -> Floats:
        values = weights.values(name)
        turned = name.endswith(("attn_q.weight", "attn_k.weight", "attn_q.bias", "attn_k.bias"))
        if turned and architecture.name in _INTERLEAVED:
            return _halves(values, architecture.head_size)
        return values

    shapes = {name: entry.shape for name, entry in header.tensors.items()}
    return Checkpoint(path.name, architecture, _texts(header, path.name), shapes, read)


class _Weights:
    """The tensors of one file: mapped, and dequantized one at a time."""

    def __init__(self, mapped: mmap.mmap, header: Header, file: str) -> None:
        self._mapped = mapped
        self._header = header
        self._file = file
        for name, entry in header.tensors.items():
            self._place_of(name, entry)

    def values(self, name: str) -> Floats:
        """The tensor *name* as float32."""
        from gguf.quants import GGMLQuantizationType, dequantize, quant_shape_to_byte_shape

        entry = self._header.tensors[name]
        begin, size = self._place_of(name, entry)
        kind = GGMLQuantizationType(entry.kind)
        raw = np.frombuffer(self._mapped, np.uint8, size, begin)
        try:
            values = dequantize(raw.reshape(quant_shape_to_byte_shape(entry.shape, kind)), kind)
        except NotImplementedError as error:
            raise Unsupported(f"{self._file}: {name} is {kind.name}", "use another file") from error
        found: Floats = values.astype(np.float32, copy=False).reshape(entry.shape)
        return found

    def _place_of(self, name: str, entry: TensorEntry) -> tuple[int, int]:
        """Where its bytes are, and how many."""
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(entry.kind)]
        except (ValueError, KeyError):
            raise Damaged(self._file, f"{name} has the type {entry.kind}, which is none") from None
        items = math.prod(entry.shape)
        begin, size = self._header.data_begins + entry.offset, items // block * block_bytes
        if entry.shape[-1] % block or begin + size > len(self._mapped):
            raise Damaged(
                self._file, f"{name} of shape {list(entry.shape)} does not fit into the file"
            )
        return begin, size


def _halves(rows: Floats, head_size: int) -> Floats:
    """Rows of pairs (2i, 2i + 1) as rows of pairs (i, i + head_size / 2), in each head."""
    heads = rows.reshape(-1, head_size // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(rows.shape)


def _architecture(header: Header, weights: _Weights, file: str) -> Architecture:
    name = header.fields.get("general.architecture")
    if name not in _ARCHITECTURES:
        raise Unsupported(
            f"{file}: its architecture is {name!r}",
            f"models of the Llama family can be exported: {', '.join(_ARCHITECTURES)}",
        )
    say = _Fields(header.fields, f"{name}.", file)
    if say.number("expert_count", 0):
        raise Unsupported(f"{file}: it is a mixture of experts")
    heads, width = int(say.number("attention.head_count")), int(say.number("embedding_length"))
    head_size = int(say.number("attention.key_length", width // max(heads, 1)))
    for part in ("rope.dimension_count", "attention.value_length"):
        if say.number(part, head_size) != head_size:
            raise Unsupported(f"{file}: {name}.{part} differs from the size of a head")
    embedded = header.tensors.get("token_embd.weight")
    return Architecture(
        name=name,
        layers=int(say.number("block_count")),
        width=width,
        heads=heads,
        kv_heads=int(say.number("attention.head_count_kv", heads)),
        head_size=head_size,
        inner=int(say.number("feed_forward_length")),
        vocabulary=embedded.shape[0] if embedded else 0,
        context=int(say.number("context_length")),
        epsilon=float(say.number("attention.layer_norm_rms_epsilon")),
        rotary=Rotary(
            float(say.number("rope.freq_base", 10000.0)),
            _divisors(header, weights, say, head_size),
        ),
        tied="output.weight" not in header.tensors,
        biased=frozenset(p for p in PROJECTIONS if f"blk.0.{p}.bias" in header.tensors),
        normed="blk.0.attn_q_norm.weight" in header.tensors,
    )


def _divisors(header: Header, weights: _Weights, say: "_Fields", head_size: int) -> Any:
    """What rotary frequencies are divided by; None for one."""
    kind = header.fields.get(say.prefix + "rope.scaling.type", "none")
    if _FREQUENCIES in header.tensors:
        divisors = weights.values(_FREQUENCIES).astype(np.float64)
        if divisors.shape != (head_size // 2,) or not (divisors > 0).all():
            raise Damaged(say.file, f"{_FREQUENCIES} cannot be so")
        return divisors
    if kind == "linear":
        return np.float64(say.number("rope.scaling.factor"))
    if kind != "none":
        raise Unsupported(f"{say.file}: rope scaling of type {kind!r}")
    return None


class _Fields:
    """The numbers of an architecture, by the ends of their names."""

    def __init__(self, fields: Mapping[str, Any], prefix: str, file: str) -> None:
        self._fields = fields
        self.prefix = prefix
        self.file = file

    def number(self, name: str, default: float | None = None) -> float:
        full = self.prefix + name
        return number(self._fields.get(full, default), full, self.file)


def _texts(header: Header, file: str) -> Texts:
    fields = header.fields
    template = fields.get("tokenizer.chat_template")
    if template is not None and (not isinstance(template, str) or len(template) > _MOST_TEMPLATE):
        raise Damaged(file, "tokenizer.chat_template is no text, or too long")
    ends = [fields.get(f"tokenizer.ggml.{name}") for name in _END_FIELDS]
    found = tuple(dict.fromkeys(end for end in ends if isinstance(end, int)))
    tokenizer = tokenizer_json(fields, file)
    return Texts(tokenizer, template, found, template_variables=_variables(fields))


def _variables(fields: Mapping[str, Any]) -> dict[str, str]:
    """Its special tokens by the names that chat templates have for them."""
    tokens, found = fields.get("tokenizer.ggml.tokens"), {}
    for name, field in _VARIABLES.items():
        at = fields.get(f"tokenizer.ggml.{field}")
        if isinstance(tokens, list) and isinstance(at, int) and 0 <= at < len(tokens):
            found[name] = str(tokens[at])
    return found
