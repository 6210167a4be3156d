"""Export the Transformer, cut it in two, and say what PyTorch makes of held-out words."""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from penstock.sharding.pipeline import Order, shard_onnx
from zoo.common.agreement import Case, Step
from zoo.common.onnx_files import export_onnx, prove
from zoo.common.place import Array, Place
from zoo.transformer.data import SYMBOLS, Ids, read, said, spelled
from zoo.transformer.network import LENGTH, Transformer

MODEL = "g2p"
BEAMS = 4


def export(place: Place) -> None:
    """Write version 1, proved on held-out words, and version 2, which sharding proves itself."""
    whole, network = place.artifact(MODEL, 1), trained(place)
    sample = {name: torch.ones(2, LENGTH, dtype=torch.long) for name in ("letters", "prefix")}
    export_onnx(network, sample, ["logs", "looked"], whole)
    for inputs, expected in _steps(network):
        prove(whole, inputs, expected)
    shard_onnx(whole, Order(stages=2, directory=place.models / MODEL / "2"), {}, lambda *_: None)


def trained(place: Place) -> Transformer:
    """The network with its weights."""
    network = Transformer()
    network.load_state_dict({name: torch.from_numpy(a) for name, a in place.load().items()})
    return network.eval()


def function(network: Transformer) -> Callable[[Ids, Ids], tuple[Array, Array]]:
    """The network on arrays."""

    def call(letters: Ids, prefix: Ids) -> tuple[Array, Array]:
        with torch.no_grad():
            logs, looked = network(torch.from_numpy(letters), torch.from_numpy(prefix))
        return logs.numpy(), looked.numpy()

    return call


def _steps(network: Transformer) -> list[Step]:
    words, steps = read()[1], []
    for rows in (slice(0, 1), slice(1, 4), slice(4, 40)):
        letters, (prefix, _) = spelled(words.spelled[rows]), said([p[0] for p in words.said[rows]])
        logs, looked = function(network)(letters, prefix)
        steps.append(({"letters": letters, "prefix": prefix}, {"logs": logs, "looked": looked}))
    return steps


def cases(place: Place) -> list[Case]:
    """Both versions of the network, and the search with PyTorch in the cluster's place."""
    network = trained(place)
    steps = _steps(network)
    words = read()[1].spelled[:12]
    numbers, looked = _beam(place).search(function(network), spelled(words), BEAMS)
    texts = [" ".join(SYMBOLS[number - 3] for number in row if number) for row in numbers]
    rows = np.array([[word.encode()] for word in words], dtype=object)
    found = {"PHONEMES": np.array([[t.encode()] for t in texts], dtype=object), "LOOKED": looked}
    return [
        Case(MODEL, steps, version=1),
        Case(MODEL, steps, version=2),
        Case("phonemes", [({"WORD": rows}, found)]),
    ]


def _beam(place: Place) -> Any:
    path = place.models / "phonemes" / "1" / "beam.py"
    spec = importlib.util.spec_from_file_location("beam", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
