"""CTranslate2's folders of Whisper: model.bin of version 6, config.json, tokenizer.json.

The file is a list of tensors: name, dimensions, kind, bytes. It is mapped, and read one tensor at a
time; the names become those of Hugging Face's folders.
"""

import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from penstock.exporting.checkpoints.checkpoint import Checkpoint, SpokenTexts
from penstock.exporting.checkpoints.folder_config import JsonFile
from penstock.exporting.checkpoints.text_files import token_list, tokenizer_in
from penstock.exporting.errors import CannotExport, Damaged, Unsupported
from penstock.exporting.graphs.matrices import Floats
from penstock.exporting.whisper.architecture import DECODER, ENCODER, Whisper

FILE: Final = "model.bin"

_VERSION: Final = 6
_SPEC: Final = b"WhisperSpec\0"
_BEGINNING: Final = struct.pack("<IH", _VERSION, len(_SPEC)) + _SPEC
_MOST_TENSORS: Final = 1 << 14
_MOST_DIMENSIONS: Final = 8
_NUMBERS: Final = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "<u2"}
_AS_COMPUTED: Final = {
    "activation": 3,  # GELU, by the error function
    "alibi": 0,
    "pre_norm": 1,
    "scale_embeddings": 0,
    "start_from_zero_embedding": 0,
}
"""Numbers of the decoder that the graphs are written for."""

_WEIGHTS: Final = {0: "float32", 4: "float16"}


class _Place(NamedTuple):
    """Where a tensor lies: its kind as the file numbers them, dimensions, first byte."""

    kind: int
    shape: tuple[int, ...]
    begin: int


class _Part(NamedTuple):
    """What of a tensor of the file is one of the checkpoint: rows of equal parts of it."""

    name: str
    part: int = 0
    parts: int = 1


def is_ctranslate2(folder: Path) -> bool:
    """Whether *folder* has a Whisper as CTranslate2 writes it."""
    path = folder / FILE
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_BEGINNING)) == _BEGINNING


def open_ctranslate2(folder: Path) -> Checkpoint:
    """The checkpoint in *folder*.

    Raises:
        CannotExport: it is incomplete or damaged, or its weights are of a kind that is not read.
    """
    config = JsonFile.read(folder / "config.json")
    file = _File.open(folder / FILE)
    _check(file)
    architecture = _architecture(file)
    parts = dict(_names(architecture))
    texts = SpokenTexts(
        tokenizer_in(folder),
        None,
        (),
        suppressed=token_list(config, config, "suppress_ids"),
        suppressed_first=token_list(config, config, "suppress_ids_begin"),
    )
    shapes = {name: shape for name, part in parts.items() if (shape := file.shape_of(part))}
    return Checkpoint(folder.name, architecture, texts, shapes, lambda name: file.read(parts[name]))


class _File:
    """An open model.bin."""

    def __init__(self, name: str, mapped: mmap.mmap, places: Mapping[str, _Place]) -> None:
        self.name = name
        self._mapped = mapped
        self.places = places

    @classmethod
    def open(cls, path: Path) -> "_File":
        try:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise CannotExport(f"{path} cannot be read: {error.strerror}") from error
        try:
            return cls(path.name, mapped, dict(_places(mapped, path.name)))
        except (struct.error, UnicodeDecodeError) as error:
            raise Damaged(path.name, "it is cut off") from error

    def shape_of(self, part: _Part) -> tuple[int, ...] | None:
        """Of what *part* names; None where there is no such tensor."""
        place = self.places.get(part.name)
        if place is None or (place.shape and place.shape[0] % part.parts):
            return None
        return (place.shape[0] // part.parts, *place.shape[1:]) if place.shape else ()

    def read(self, part: _Part) -> Floats:
        kind, shape, begin = self.places[part.name]
        if kind not in _WEIGHTS:
            raise Unsupported(
                f"{self.name}: {part.name} is no float16 or float32",
                "convert the model with --quantization float16",
            )
        raw = np.frombuffer(self._mapped, _NUMBERS[kind], math.prod(shape), begin)
        rows = np.split(raw.reshape(shape), part.parts)[part.part]
        return rows.astype(np.float32)

    def number(self, name: str) -> int:
        """The whole number *name*."""
        place = self.places.get(name)
        if place is None or place.shape or place.kind not in (1, 2, 3):
            raise Damaged(self.name, f"it lacks the number {name}")
        return int(np.frombuffer(self._mapped, _NUMBERS[place.kind], 1, place.begin)[0])

    def dimensions(self, name: str, count: int) -> tuple[int, ...]:
        """Those of the tensor *name*, of which there are so many."""
        place = self.places.get(name)
        if place is None or len(place.shape) != count:
            raise Damaged(self.name, f"it lacks the tensor {name}")
        return place.shape


def _places(mapped: mmap.mmap, name: str) -> Iterator[tuple[str, _Place]]:
    """The tensors of a file, each held against its size before anything is read of it."""
    at = len(_BEGINNING)
    _, count = struct.unpack_from("<II", mapped, at)
    at += 8
    if count > _MOST_TENSORS:
        raise Damaged(name, f"it says that it has {count} tensors")
    for _ in range(count):
        (length,) = struct.unpack_from("<H", mapped, at)
        tensor = mapped[at + 2 : at + 1 + length].decode()
        at += 2 + length
        (rank,) = struct.unpack_from("<B", mapped, at)
        if rank > _MOST_DIMENSIONS:
            raise Damaged(name, f"{tensor} has {rank} dimensions")
        *shape, kind, size = struct.unpack_from(f"<{rank}IBI", mapped, at + 1)
        at += 1 + 4 * rank + 5
        item = np.dtype(_NUMBERS.get(kind, "u1")).itemsize
        if kind not in _NUMBERS or math.prod(shape) * item != size or at + size > len(mapped):
            raise Damaged(name, f"{tensor} has not the size that it says")
        yield tensor, _Place(kind, tuple(shape), at)
        at += size


def _check(file: _File) -> None:
    """Refuse what the graphs would compute without."""
    for name, value in _AS_COMPUTED.items():
        found = file.number(f"decoder/{name}")
        if found != value:
            raise Unsupported(f"{file.name}: decoder/{name} is {found}", f"read is {value}")
    if "decoder/projection/weight" in file.places:
        raise Unsupported(f"{file.name}: a head that is not the table of the embeddings")


def _architecture(file: _File) -> Whisper:
    width, mels, _ = file.dimensions("encoder/conv1/weight", 3)
    vocabulary, _ = file.dimensions("decoder/embeddings/weight", 2)
    (inner,) = file.dimensions("decoder/layer_0/ffn/linear_0/bias", 1)
    (encoder_inner,) = file.dimensions("encoder/layer_0/ffn/linear_0/bias", 1)
    return Whisper(
        layers=_layers(file, "decoder"),
        encoder_layers=_layers(file, "encoder"),
        width=width,
        heads=file.number("decoder/num_heads"),
        encoder_heads=file.number("encoder/num_heads"),
        inner=inner,
        encoder_inner=encoder_inner,
        vocabulary=vocabulary,
        context=file.dimensions("decoder/position_encodings/encodings", 2)[0],
        mels=mels,
        positions=file.dimensions("encoder/position_encodings/encodings", 2)[0],
    )


def _layers(file: _File, side: str) -> int:
    names = {name.split("/")[1] for name in file.places if name.startswith(f"{side}/layer_")}
    return len(names - {"layer_norm"})


def _names(shape: Whisper) -> Iterator[tuple[str, _Part]]:
    """Each tensor's name in Hugging Face's folders, and what of the file it is."""
    for number in (1, 2):
        for kind in ("weight", "bias"):
            yield f"{ENCODER}conv{number}.{kind}", _Part(f"encoder/conv{number}/{kind}")
    yield f"{DECODER}embed_tokens.weight", _Part("decoder/embeddings/weight")
    sides = ((ENCODER, "encoder", shape.encoder_layers), (DECODER, "decoder", shape.layers))
    for ours, theirs, layers in sides:
        yield f"{ours}embed_positions.weight", _Part(f"{theirs}/position_encodings/encodings")
        yield from _norm(f"{ours}layer_norm", f"{theirs}/layer_norm")
        for layer in range(layers):
            yield from _layer(f"{ours}layers.{layer}.", f"{theirs}/layer_{layer}/")
            if ours == DECODER:
                into = f"{ours}layers.{layer}.encoder_attn", f"{theirs}/layer_{layer}/attention"
                yield from _cross(*into)


def _layer(ours: str, theirs: str) -> Iterator[tuple[str, _Part]]:
    attention = f"{theirs}self_attention"
    yield from _norm(f"{ours}self_attn_layer_norm", f"{attention}/layer_norm")
    for part, name in enumerate(("q_proj", "k_proj", "v_proj")):
        yield from _linear(f"{ours}self_attn.{name}", f"{attention}/linear_0", part, 3)
    yield from _linear(f"{ours}self_attn.out_proj", f"{attention}/linear_1")
    yield from _norm(f"{ours}final_layer_norm", f"{theirs}ffn/layer_norm")
    yield from _linear(f"{ours}fc1", f"{theirs}ffn/linear_0")
    yield from _linear(f"{ours}fc2", f"{theirs}ffn/linear_1")


def _cross(ours: str, theirs: str) -> Iterator[tuple[str, _Part]]:
    yield from _norm(f"{ours}_layer_norm", f"{theirs}/layer_norm")
    yield from _linear(f"{ours}.q_proj", f"{theirs}/linear_0")
    yield from _linear(f"{ours}.k_proj", f"{theirs}/linear_1", 0, 2)
    yield from _linear(f"{ours}.v_proj", f"{theirs}/linear_1", 1, 2)
    yield from _linear(f"{ours}.out_proj", f"{theirs}/linear_2")


def _linear(ours: str, theirs: str, part: int = 0, parts: int = 1) -> Iterator[tuple[str, _Part]]:
    for kind in ("weight", "bias"):
        yield f"{ours}.{kind}", _Part(f"{theirs}/{kind}", part, parts)


def _norm(ours: str, theirs: str) -> Iterator[tuple[str, _Part]]:
    yield f"{ours}.weight", _Part(f"{theirs}/gamma")
    yield f"{ours}.bias", _Part(f"{theirs}/beta")
