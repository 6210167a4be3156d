"""Ask who speaks; draw the gates of one utterance over time."""

import numpy as np

from penstock.client import Client
from zoo.common.drawing import INK, figure, svg
from zoo.common.place import Array, Place
from zoo.common.results import Exhibit, Picture, at_least
from zoo.lstm.data import Utterances
from zoo.lstm.export import MODEL, utterances

AT_ONCE = 64
GATES = ("input gate i", "forget gate f", "output gate o")


def show(url: str, place: Place) -> Exhibit:
    """Accuracy on held-out utterances, and the gates."""
    held = utterances(place)
    with Client(url) as client:
        parts = [
            client.infer(MODEL, {"frames": held.frames[rows], "length": held.lengths[rows]})
            for rows in _parts(len(held.speakers))
        ]
    said = np.concatenate([part["speaker"] for part in parts]).argmax(axis=1)
    accuracy = float(np.mean(said == held.speakers))
    pictures = [_gates(held, parts[0]["gates"][0], parts[0]["cells"][0]), _table(said, held)]
    return Exhibit([at_least("speaker named rightly", accuracy, 0.95)], pictures)


def _parts(count: int) -> list[slice]:
    return [slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE)]


def _gates(held: Utterances, gates: Array, cells: Array) -> Picture:
    """Each gate as an image, time to the right, and the sound above it."""
    length = int(held.lengths[0, 0])
    drawn, axes = figure(7.5, 4.2, columns=2, rows=2)
    views = [(title, gates[:length, place].T) for place, title in enumerate(GATES)]
    views.append(("cell c", cells[:length].T))
    for axis, (title, view) in zip(axes.flat, views, strict=True):
        cell = title.startswith("cell")
        colours = {"cmap": "RdBu_r", "vmin": -2, "vmax": 2} if cell else {"vmin": 0, "vmax": 1}
        image = axis.imshow(view, aspect="auto", interpolation="nearest", **colours)
        axis.set_title(title, color=INK)
        axis.set(xlabel="frame", ylabel="unit")
        drawn.colorbar(image, ax=axis, shrink=0.8)
    text = (
        "One utterance of 'ae', frame by frame, as the cluster answered. Units whose forget gate "
        "stays near 1 remember from the beginning; where the input gate opens, something is added."
    )
    return Picture("The gates while a man says 'ae'", text, svg(drawn))


def _table(said: Array, held: Utterances) -> Picture:
    """Who was taken for whom."""
    counts = np.zeros((9, 9), int)
    np.add.at(counts, (held.speakers, said), 1)
    drawn, axes = figure(3.6, 3.2)
    (axis,) = axes[0]
    axis.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if count > counts.max() / 2 else INK
            axis.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    axis.set(xlabel="named", ylabel="spoke", xticks=range(9), yticks=range(9))
    axis.set_xticklabels(range(1, 10))
    axis.set_yticklabels(range(1, 10))
    return Picture("Who was taken for whom", "Held-out utterances of nine speakers.", svg(drawn))
