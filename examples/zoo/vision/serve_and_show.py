"""Have pages read by the cluster; show the boxes that were found, and what was read."""

import base64
import difflib
import html
from collections.abc import Sequence

import numpy as np

from penstock.client import Client, InferResult
from zoo.common.place import Place
from zoo.common.results import Exhibit, Picture, at_least
from zoo.vision.data import HEIGHT, PAGES, WIDTH, picture, text


def show(url: str, _: Place) -> Exhibit:
    """The share of letters that were read right, and the pages."""
    pictures, right = [], []
    with Client(url) as client:
        for page in range(len(PAGES)):
            file = np.array([picture(page)], dtype=object)
            found = client.infer("page", {"PAGE": file}, deadline_s=300)
            read = [line.decode() for line in found["TEXTS"]]
            right.append(likeness("\n".join(read), "\n".join(text(page))))
            pictures.append(_drawn(page, found, read))
    return Exhibit([at_least("letters read right", min(right), 0.97)], pictures)


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
