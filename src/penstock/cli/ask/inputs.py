"""What people write after ``--input name=`` as the array that a model's input wants."""

import io
import json
import math
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import NamedTuple

import numpy as np

from penstock.client.encoding import Input, bf16
from penstock.errors import InvalidRequest
from penstock.tensors import NUMPY_TYPES, Array

_NPY_MAGIC = b"\x93NUMPY"
_UNREADABLE = (OSError, SyntaxError, ValueError, OverflowError, struct.error, IndexError, EOFError)
"""What Pillow raises for images that are cut off or damaged."""

_IMAGE_MAGICS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")


class Wanted(NamedTuple):
    """One input of the model, as its metadata has it; -1 is any size."""

    name: str
    datatype: str
    shape: Sequence[int]


def read_inputs(given: Iterable[str], wanted: Iterable[Wanted]) -> dict[str, Input]:
    """The inputs that *given* writes, each ``name=value`` or ``name=@file``.

    A value is JSON; a file is JSON, ``.npy`` or an image; ``@-`` is standard input. With a single
    input its name may be left out. A missing batch dimension is added, and numbers are converted
    to the input's datatype where nothing is lost by it.

    Raises:
        InvalidRequest: an unknown input, an unreadable file, or a value that does not fit.
    """
    known = {one.name: one for one in wanted}
    inputs: dict[str, Input] = {}
    for text in given:
        name, value = _split(text, known)
        if name in inputs:
            raise InvalidRequest(f"input '{name}' is given twice")
        inputs[name] = _fit(_read(value, known[name]), known[name])
    missing = [name for name in known if name not in inputs]
    if missing:
        raise InvalidRequest(f"no value for {_listed(known[name] for name in missing)}")
    return inputs


def _split(text: str, known: Mapping[str, Wanted]) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if equals and name in known:
        return name, value
    if len(known) == 1 and (not equals or name.startswith(("@", "[", '"'))):
        return next(iter(known)), text
    raise InvalidRequest(
        f"the model has no input '{name}'; it has {_listed(known.values())}"
        if equals
        else f"write --input NAME=VALUE; the model has {_listed(known.values())}"
    )


def _listed(inputs: Iterable[Wanted]) -> str:
    return ", ".join(f"'{one.name}' ({one.datatype} {list(one.shape)})" for one in inputs)


def _read(value: str, wanted: Wanted) -> Array:
    if not value.startswith("@"):
        return _from_json(value, wanted, value)
    source = value[1:]
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read '{source}': {error.strerror}") from None
    if data.startswith(_NPY_MAGIC):
        return _from_npy(data, source)
    if data.startswith(_IMAGE_MAGICS):
        return _from_image(data, source, wanted)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"'{source}' is neither JSON, nor .npy, nor an image") from None
    return _from_json(text, wanted, source)


def _from_json(text: str, wanted: Wanted, source: str) -> Array:
    try:
        loaded = json.loads(text)
    except ValueError:
        if wanted.datatype != "BYTES":
            raise InvalidRequest(f"'{source}' is not JSON; a file is written @file") from None
        loaded = text
    if wanted.datatype == "BYTES":
        return np.array(loaded, dtype=np.object_)
    try:
        array = np.array(loaded)
    except ValueError:
        raise InvalidRequest(f"the lists in '{source}' are not of equal length") from None
    if array.dtype == np.object_:
        raise InvalidRequest(f"'{source}' holds values that are not numbers, text or booleans")
    return array


def _from_npy(data: bytes, source: str) -> Array:
    try:
        array: Array = np.load(io.BytesIO(data), allow_pickle=False)
    except (*_UNREADABLE, TypeError, MemoryError, RecursionError, TokenError) as error:
        raise InvalidRequest(f"cannot read '{source}': {error}") from None
    return array


def _from_image(data: bytes, source: str, wanted: Wanted) -> Array:
    """The image with the size and channels that the input has: 0 to 255, or 0 to 1 for floats."""
    from PIL import Image, UnidentifiedImageError

    dims = _without_batch(wanted.shape)
    channels, height, width, planes_first = _layout(dims)
    try:
        with Image.open(io.BytesIO(data)) as image:
            converted = image.convert("L" if channels == 1 else "RGB")
            size = (width or converted.width, height or converted.height)
            if converted.size != size:
                converted = converted.resize(size, Image.Resampling.BILINEAR)
            pixels: Array = np.asarray(converted)
    except (*_UNREADABLE, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InvalidRequest(f"cannot read the image '{source}': {error}") from None
    if channels > 1 and planes_first:
        pixels = pixels.transpose(2, 0, 1)
    if len(dims) == 1:
        pixels = pixels.reshape(-1)
    elif channels == 1 and len(dims) == 3:
        pixels = pixels[np.newaxis] if planes_first else pixels[..., np.newaxis]
    if len(wanted.shape) > len(dims):
        pixels = pixels[np.newaxis]
    if wanted.datatype in ("FP16", "FP32", "FP64", "BF16"):
        return (pixels / 255.0).astype(np.float32)
    return pixels


def _without_batch(shape: Sequence[int]) -> list[int]:
    """Four dimensions are a batch of images; of fewer, an open first one is the batch."""
    has_batch = len(shape) == 4 or (len(shape) > 1 and shape[0] == -1)
    return list(shape[1:]) if has_batch else list(shape)


def _layout(dims: Sequence[int]) -> tuple[int, int, int, bool]:
    """Channels, height and width (0: the image's own), and whether channels come first."""
    if len(dims) == 1 and dims[0] > 0:
        side = math.isqrt(dims[0])
        if side * side == dims[0]:
            return 1, side, side, True
    if len(dims) == 2:
        return 1, max(0, dims[0]), max(0, dims[1]), True
    if len(dims) == 3 and dims[0] in (1, 3):
        return dims[0], max(0, dims[1]), max(0, dims[2]), True
    if len(dims) == 3 and dims[2] in (1, 3):
        return dims[2], max(0, dims[0]), max(0, dims[1]), False
    raise InvalidRequest(f"an image does not fit dimensions {list(dims)}")


def _fit(array: Array, wanted: Wanted) -> Input:
    if wanted.shape and wanted.shape[0] == -1 and array.ndim == len(wanted.shape) - 1:
        array = array[np.newaxis]
    if wanted.datatype == "BYTES":
        return array
    if array.dtype.kind in "OSU":
        raise InvalidRequest(f"input '{wanted.name}' is {wanted.datatype}, and was given text")
    if wanted.datatype == "BF16":
        return bf16(_converted(array, "FP32", wanted))
    return _converted(array, wanted.datatype, wanted)


def _converted(array: Array, datatype: str, wanted: Wanted) -> Array:
    """Floats may be rounded, as they always are; nothing else may change."""
    dtype = NUMPY_TYPES[datatype]
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
        if array.dtype.kind == "f" and dtype.kind == "f":
            lost = np.isfinite(array) & ~np.isfinite(converted)
        else:
            lost = converted.astype(array.dtype) != array
    if lost.any():
        raise InvalidRequest(
            f"input '{wanted.name}' is {wanted.datatype}, which cannot hold {array[lost].flat[0]}"
        )
    return converted
