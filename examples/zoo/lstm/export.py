"""Export the network with its gates; `nn.LSTM`, which was trained, says what is right."""

import numpy as np
import torch

from zoo.common.agreement import Case
from zoo.common.onnx_files import export_onnx, prove
from zoo.common.place import ZOO, Place
from zoo.lstm.data import Utterances, held_out
from zoo.lstm.network import FEATURES, FRAMES, Speaker, Unrolled

MODEL = "speaker"


def export(place: Place) -> None:
    """Write the artifact, proved on held-out utterances."""
    path = place.artifact(MODEL)
    sample = {"frames": torch.rand(2, FRAMES, FEATURES), "length": torch.tensor([[9], [20]])}
    export_onnx(Unrolled(trained(place)), sample, ["speaker", "gates", "cells"], path)
    for case in cases(place):
        for inputs, expected in case.steps:
            prove(path, inputs, expected)


def trained(place: Place) -> Speaker:
    """The network with its weights."""
    network = Speaker()
    network.load_state_dict({name: torch.from_numpy(a) for name, a in place.load().items()})
    return network.eval()


def utterances(place: Place) -> Utterances:
    """What is asked about."""
    return held_out(shipped=place.folder == ZOO / place.kind)


def cases(place: Place) -> list[Case]:
    """Held-out utterances, one or several in a request."""
    network, held = trained(place), utterances(place)
    steps = []
    for rows in (slice(0, 1), slice(1, 4), slice(4, 36)):
        frames, lengths = held.frames[rows], held.lengths[rows]
        with torch.no_grad():
            logits = network(torch.from_numpy(frames), torch.from_numpy(lengths))
        inputs: dict[str, np.ndarray] = {"frames": frames, "length": lengths}
        steps.append((inputs, {"speaker": logits.softmax(dim=1).numpy()}))
    return [Case(MODEL, steps)]
