"""Export the torch twin of each network, and say what it answers to held-out input."""

import numpy as np
import torch

from zoo.common.agreement import Case
from zoo.common.onnx_files import export_onnx, prove
from zoo.common.place import Place
from zoo.feedforward.data import NETWORKS, Served, read
from zoo.feedforward.network import Twin


def export(place: Place) -> None:
    """Write each model version, proved on held-out input."""
    for served in NETWORKS:
        path = place.artifact(served.model, served.version)
        sample = torch.zeros(2, served.form.inputs)
        export_onnx(twin(place, served), {"features": sample}, ["outputs"], path)
        for case in _cases(place, served):
            for inputs, expected in case.steps:
                prove(path, inputs, expected)


def twin(place: Place, served: Served) -> Twin:
    """The trained network in PyTorch."""
    weights, prefix = place.load(), f"{served.name}."
    names = ("hidden.weight", "hidden.bias", "outputs.weight", "outputs.bias")
    return Twin(served.form, {name: weights[prefix + name] for name in names}).eval()


def cases(place: Place) -> list[Case]:
    """Held-out rows, in requests of several sizes, with PyTorch's answers."""
    return [case for served in NETWORKS for case in _cases(place, served)]


def _cases(place: Place, served: Served) -> list[Case]:
    network = twin(place, served)
    rows = read(served.data).held_out[0].astype(np.float32)[:40]
    steps = []
    for part in (rows[:1], rows[1:4], rows[4:]):
        with torch.no_grad():
            steps.append(({"features": part}, {"outputs": network(torch.from_numpy(part)).numpy()}))
    return [Case(served.model, steps, served.version)]
