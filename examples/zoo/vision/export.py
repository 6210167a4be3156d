"""Take both networks out of rapidocr; the second answers with letters, not with 18,710 numbers."""

import importlib.util
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from zoo.common.agreement import Case
from zoo.common.onnx_files import answers, prove
from zoo.common.packages import unpacked
from zoo.common.place import Array, Place
from zoo.vision.data import PAGES, picture

ALL = "fetch_name_0"


def export(place: Place) -> None:
    """Write both artifacts and the letters; the second is proved on lines of a page."""
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
    """Both networks by themselves, and a whole page, with ONNX Runtime in the cluster's place."""
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
