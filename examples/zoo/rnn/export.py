"""Export one step of the network; the cluster feeds the state of one into the next."""

import torch

from zoo.common.agreement import Case
from zoo.common.onnx_files import export_onnx, prove
from zoo.common.place import Place
from zoo.rnn.data import read
from zoo.rnn.network import HIDDEN, Elman

MODEL = "sunspots"


def export(place: Place) -> None:
    """Write the artifact, proved year by year."""
    path = place.artifact(MODEL)
    sample = {"spots": torch.rand(2, 1), "state": torch.rand(2, HIDDEN)}
    network = trained(place)
    export_onnx(network, sample, ["forecast", "next_state"], path)
    state = torch.zeros(1, HIDDEN)
    for year in read()[1]:
        with torch.no_grad():
            forecast, following = network(torch.from_numpy(year[None]), state)
        inputs = {"spots": year[None], "state": state.numpy()}
        prove(path, inputs, {"forecast": forecast.numpy(), "next_state": following.numpy()})
        state = following


def trained(place: Place) -> Elman:
    """The network with its weights."""
    network = Elman()
    network.load_state_dict({name: torch.from_numpy(a) for name, a in place.load().items()})
    return network.eval()


def cases(place: Place) -> list[Case]:
    """Stretches of years, each a sequence of its own that starts without any memory."""
    spots, network = read()[1], trained(place)
    found = []
    for start in (0, 100, 220):
        stretch = spots[start : start + 30]
        with torch.no_grad():
            forecasts = network.series(torch.from_numpy(stretch)).numpy()
        steps = [
            ({"spots": year[None]}, {"forecast": forecast[None]})
            for year, forecast in zip(stretch, forecasts, strict=True)
        ]
        found.append(Case(MODEL, steps, sequence=True))
    return found
