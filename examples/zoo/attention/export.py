"""Export the network, and say what it makes of held-out snippets."""

import numpy as np
import torch

from zoo.attention.data import read
from zoo.attention.network import Rating
from zoo.attention.words import numbers
from zoo.common.agreement import Case, Step
from zoo.common.onnx_files import export_onnx, prove
from zoo.common.place import Place

MODEL = "film_rating"


def export(place: Place) -> None:
    """Write the artifact, proved on held-out snippets."""
    path, network = place.artifact("film_attention"), trained(place)
    ids = numbers(place, read()[1].texts[:50])
    export_onnx(network, {"ids": torch.from_numpy(ids[:3])}, ["opinion", "weights"], path)
    with torch.no_grad():
        opinion, weights = (found.numpy() for found in network(torch.from_numpy(ids)))
    prove(path, {"ids": ids}, {"opinion": opinion, "weights": weights})


def trained(place: Place) -> Rating:
    """The network with its weights."""
    arrays = {name: torch.from_numpy(array) for name, array in place.load().items()}
    network = Rating(len(arrays["words.weight"]))
    network.load_state_dict(arrays)
    return network.eval()


def cases(place: Place) -> list[Case]:
    """Held-out snippets, one or several in a request."""
    texts, network = read()[1].texts, trained(place)
    steps: list[Step] = []
    for part in (texts[:1], texts[1:4], texts[4:40]):
        with torch.no_grad():
            opinion, weights = network(torch.from_numpy(numbers(place, part)))
        rows = np.array([[text.encode()] for text in part], dtype=object)
        steps.append(({"TEXT": rows}, {"OPINION": opinion.numpy(), "WEIGHTS": weights.numpy()}))
    return [Case(MODEL, steps)]
