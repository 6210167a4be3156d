"""Write each table of vectors as a graph from text to text; PyTorch says what is nearest."""

from collections.abc import Sequence

import numpy as np
import onnx
import torch

from zoo.common.agreement import Case, Step
from zoo.common.onnx_files import prove
from zoo.common.place import Array, Place
from zoo.word_vectors.network import WIDTH, Nearest, graph

MODELS = ("word2vec", "glove")
SUMS = (("king", "man", "woman"), ("puppy", "dog", "cat"), ("france", "paris", "rome"))
"""The first, less the second, and the third."""
ASKED = 40
"""Words, and a few more."""
CLEAR = 1e-4
"""Apart in likeness: of words nearer than that to each other, either may come first."""


def export(place: Place) -> None:
    """Write both artifacts, proved on words and sums of words."""
    for model in MODELS:
        path = place.artifact(model)
        units = trained(place, model).units.numpy()
        onnx.save(graph(units, words(place)), str(path))
        for inputs, expected in _steps(place, model):
            prove(path, inputs, expected)


def trained(place: Place, model: str) -> Nearest:
    """The search through the model's table."""
    return Nearest(torch.from_numpy(place.load()[model])).eval()


def words(place: Place) -> list[str]:
    """All words, most frequent first."""
    found: list[str] = place.load()["words"].tolist()
    return found


def cases(place: Place) -> list[Case]:
    """Words, alone and many in a request, sums of them, and a word that nobody knows."""
    return [Case(model, _steps(place, model)) for model in MODELS]


def _steps(place: Place, model: str) -> list[Step]:
    network, known = trained(place, model), words(place)
    singles = [(word,) for word in known[:: max(1, len(known) // ASKED)]]
    clear = [row for row in singles if _clear(network, known, row)]
    sums = [row for row in SUMS if set(row) <= set(known) and _clear(network, known, row)]
    groups = [clear[:1], clear[1:4], clear[4:], *([sums] if sums else [])]
    return [*(_step(network, known, rows) for rows in groups if rows), _unknown()]


def _clear(network: Nearest, known: list[str], row: Sequence[str]) -> bool:
    _, likeness, _ = _nearest(network, known, [row])
    return bool(np.all(-np.diff(likeness[0]) > CLEAR))


def _step(network: Nearest, known: list[str], rows: Sequence[Sequence[str]]) -> Step:
    places, likeness, vector = _nearest(network, known, rows)
    named = [[known[place - 1].encode() for place in row] for row in places]
    found = {"nearest": np.array(named, object), "likeness": likeness, "vector": vector}
    return request(rows), found | {"known": np.ones((len(rows), len(rows[0])), bool)}


def _unknown() -> Step:
    """A word that WordNet does not have is told from those that it has, and is nowhere."""
    nowhere = np.zeros((1, WIDTH), np.float32)
    return request([("penstocks",)]), {"vector": nowhere, "known": np.zeros((1, 1), bool)}


def _nearest(
    network: Nearest, known: list[str], rows: Sequence[Sequence[str]]
) -> tuple[Array, Array, Array]:
    numbers = torch.tensor([[known.index(word) + 1 for word in row] for row in rows])
    with torch.no_grad():
        places, likeness, vector = network(numbers, torch.from_numpy(signs(rows)))
    return places.numpy(), likeness.numpy(), vector.numpy()


def request(rows: Sequence[Sequence[str]]) -> dict[str, Array]:
    """Rows of as many words: of three, the second is taken away."""
    texts = np.array([[word.encode() for word in row] for row in rows], dtype=object)
    return {"words": texts, "signs": signs(rows)}


def signs(rows: Sequence[Sequence[str]]) -> Array:
    """Plus and minus in turn [rows, words]."""
    return np.array([[1 - 2 * (place % 2) for place in range(len(row))] for row in rows], "f4")
