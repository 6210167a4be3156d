"""EfficientNet, and the two networks of rapidocr, of which one answers with letters alone."""

import importlib.util
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from zoo.common.agreement import Case
from zoo.common.onnx_files import answers, export_onnx, prove
from zoo.common.packages import unpacked
from zoo.common.place import Array, Place
from zoo.vision.data import PAGES, picture
from zoo.vision.efficientnet import EfficientNet, published
from zoo.vision.photos import every, names

ALL = "fetch_name_0"


def export(place: Place) -> None:
    """Write all artifacts; those that are not as they were published are proved."""
    _export_photo(place)
    _export_page(place)


def _export_photo(place: Place) -> None:
    network, squares = published(), every()
    (place.models / "photo" / "classes.txt").write_text("\n".join(names()), encoding="utf-8")
    sample = {"pixels": torch.from_numpy(squares[:2])}
    artifact = place.artifact("photo")
    export_onnx(network, sample, ["classes"], artifact)
    prove(artifact, {"pixels": squares}, {"classes": _classes(network, squares)})


def _classes(network: EfficientNet, squares: Array) -> Array:
    with torch.no_grad():
        found: Array = network(torch.from_numpy(squares)).numpy()
    return found


def _export_page(place: Place) -> None:
    shutil.copyfile(_published("det"), place.artifact("page_lines"))
    model = onnx.load(str(_published("rec")))
    letters = next(entry.value for entry in model.metadata_props if entry.key == "character")
    path = place.models / "page" / "1" / "letters.txt"
    path.write_text(letters.rstrip("\n") + "\n ", encoding="utf-8")
    artifact = place.artifact("line_text")
    onnx.save(_brief(model), str(artifact))
    lines = _lines(place, 0)
    prove(artifact, {"x": lines}, dict(zip(("best", "sure"), _read(lines), strict=True)))


def _published(part: str) -> Path:
    return unpacked("rapidocr") / "rapidocr" / "models" / f"PP-OCRv6_{part}_small.onnx"


def _brief(model: onnx.ModelProto) -> onnx.ModelProto:
    """Of all letters' probabilities [n, t, 18710] the best and how sure it is [n, t]."""
    graph = model.graph
    graph.node.append(helper.make_node("ArgMax", [ALL], ["best"], axis=2, keepdims=0))
    graph.node.append(helper.make_node("ReduceMax", [ALL], ["sure"], axes=[2], keepdims=0))
    del graph.output[:], model.metadata_props[:]
    for name, kind in (("best", TensorProto.INT64), ("sure", TensorProto.FLOAT)):
        rows = graph.input[0].type.tensor_type.shape.dim[0].dim_param
        graph.output.append(helper.make_tensor_value_info(name, kind, [rows, "stretches"]))
    return model


def _find(pixels: Array) -> Array:
    return answers(_published("det"), {"x": pixels})[ALL]


def _read(lines: Array) -> tuple[Array, Array]:
    """As published, and the best taken here."""
    every = answers(_published("rec"), {"x": lines})[ALL]
    return every.argmax(axis=2), every.max(axis=2)


def _reading(place: Place) -> Any:
    path = place.models / "page" / "1" / "reading.py"
    spec = importlib.util.spec_from_file_location("reading", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pixels(page: int) -> Array:
    """A page's pixels [height, width, 3]."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(picture(page))).convert("RGB"))


def _lines(place: Place, page: int) -> Array:
    reading = _reading(place)
    boxes = reading.boxes_of(_find(reading.prepared(reading.padded(pixels(page))))[0, 0])
    lines: Array = reading.lines_of(pixels(page), boxes)
    return lines


def cases(place: Place) -> list[Case]:
    """The photographs; a page in parts and as a whole, by ONNX Runtime in the cluster's place."""
    network, squares = published(), every()
    steps = [
        ({"pixels": part}, {"classes": _classes(network, part)})
        for part in (squares[:1], squares[1:3], squares)
    ]
    return [Case("photo", steps), *_page_cases(place)]


def _page_cases(place: Place) -> list[Case]:
    reading, (first, second) = _reading(place), range(len(PAGES))
    x, lines = reading.prepared(pixels(first)), _lines(place, second)
    best, sure = _read(lines)
    letters = (place.models / "page" / "1" / "letters.txt").read_text(encoding="utf-8")
    texts, boxes, surely = reading.read_page(
        pixels(first), _find, _read, ["", *letters.split("\n")]
    )
    expected = {
        "TEXTS": np.array([text.encode() for text in texts], dtype=object),
        "BOXES": boxes,
        "SURE": surely,
    }
    file = np.array([picture(first)], dtype=object)
    return [
        Case("page_lines", [({"x": x}, {ALL: _find(x)})]),
        Case("line_text", [({"x": lines}, {"best": best, "sure": sure})]),
        Case("page", [({"PAGE": file}, expected)]),
    ]
