"""Have photographs named and pages read by the cluster; show what it says of them."""

import base64
import difflib
import html
from collections.abc import Sequence

import grpc
import numpy as np

from penstock.client import Client, InferResult
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from zoo.common.place import Place
from zoo.common.results import Exhibit, Goal, Picture, at_least
from zoo.vision.data import HEIGHT, PAGES, WIDTH, picture, text
from zoo.vision.photos import PHOTOS, Photo, every, pixels, png

SURE_OF = 5
"""Names of a photograph that are asked for."""


def show(url: str, _: Place) -> Exhibit:
    """The shares of photographs named and of letters read right, with all of them."""
    goals, pictures = zip(_photos(url), _pages(url), strict=True)
    return Exhibit([*goals], [picture for some in pictures for picture in some])


def _photos(url: str) -> tuple[Goal, list[Picture]]:
    said = _named(url)
    right = [rows[0][0] in photo.right for rows, photo in zip(said, PHOTOS, strict=True)]
    cells = "".join(
        f'<div style="display:inline-block;width:15rem;vertical-align:top">{_square(photo)}'
        f"<table>{_likeliest(rows)}</table></div>"
        for rows, photo in zip(said, PHOTOS, strict=True)
    )
    text = "Nothing but the square was sent; the cluster answers with the names."
    goal = at_least("photographs whose first name is right", np.mean(right), 0.8)
    return goal, [Picture("What is on a photograph", text, cells)]


def _named(url: str) -> list[list[tuple[str, float]]]:
    """The likeliest names of each photograph: the classification extension, by the bare stub."""
    request = ModelInferRequest(model_name="photo", raw_input_contents=[every().tobytes()])
    request.inputs.add(name="pixels", datatype="UINT8", shape=every().shape)
    output = request.outputs.add(name="classes")
    output.parameters["classification"].int64_param = SURE_OF
    with grpc.insecure_channel(url) as channel:
        reply = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=300)
    rows = InferResult(reply)["classes"]
    return [[_read(text) for text in row] for row in rows]


def _read(text: bytes) -> tuple[str, float]:
    sure, _, name = text.decode().split(":", 2)
    return name, float(sure)


def _square(photo: Photo) -> str:
    data = base64.b64encode(png(pixels(photo))).decode()
    return f'<img alt="{photo.file}" width="200" src="data:image/png;base64,{data}">'


def _likeliest(rows: Sequence[tuple[str, float]]) -> str:
    return "".join(f"<tr><td class=n>{sure:.0%}<td>{html.escape(name)}" for name, sure in rows)


def _pages(url: str) -> tuple[Goal, list[Picture]]:
    pictures, right = [], []
    with Client(url) as client:
        for page in range(len(PAGES)):
            file = np.array([picture(page)], dtype=object)
            found = client.infer("page", {"PAGE": file}, deadline_s=300)
            read = [line.decode() for line in found["TEXTS"]]
            right.append(likeness("\n".join(read), "\n".join(text(page))))
            pictures.append(_drawn(page, found, read))
    return at_least("letters read right", min(right), 0.97), pictures


def likeness(found: str, wanted: str) -> float:
    """The share of letters that the two have in common, in order."""
    matcher = difflib.SequenceMatcher(None, found, wanted, autojunk=False)
    same = sum(block.size for block in matcher.get_matching_blocks())
    return same / max(len(found), len(wanted))


def _drawn(page: int, found: InferResult, read: Sequence[str]) -> Picture:
    """The page with a frame around each line, and the lines as text beside how sure they are."""
    data = base64.b64encode(picture(page)).decode()
    frames = "".join(
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{right - left:.0f}" '
        f'height="{bottom - top:.0f}" fill="none" stroke="#c2452d" stroke-width="1.5"/>'
        for left, top, right, bottom in found["BOXES"]
    )
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%">'
        f'<image href="data:image/png;base64,{data}" width="{WIDTH}" height="{HEIGHT}"/>'
        f"{frames}</svg>"
    )
    rows = "".join(
        f"<tr><td class=n>{sure:.0%}<td>{html.escape(line)}"
        for line, sure in zip(read, found["SURE"], strict=True)
    )
    title = "A page, the lines found on it, and what was read"
    words = "Each frame is a box; below, how sure the least sure letter of the line is."
    return Picture(title, words, f"{svg}<table>{rows}</table>")
