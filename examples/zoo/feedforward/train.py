"""Train each network by gradient descent, with the gradients of `network.gradients`."""

import numpy as np

from zoo.common.place import Place
from zoo.feedforward.data import NETWORKS, Data, read
from zoo.feedforward.network import Floats, Form, Weights, forward, fresh, gradients, loss

EPOCHS = {"digits": 60, "breast_cancer": 40, "diabetes": 30}
DECAY = {"digits": 1e-4, "breast_cancer": 2e-2, "diabetes": 2.0}
RATE = 3e-3
BATCH = 32


def train(place: Place) -> None:
    """Write the weights of all networks, and the curve of each one's loss."""
    arrays = {}
    for served in NETWORKS:
        epochs = 2 if place.quick else EPOCHS[served.data]
        weights, curve = descend(served.form, read(served.data), epochs, DECAY[served.data])
        arrays |= {f"{served.name}.{name}": array for name, array in weights.items()}
        arrays[f"{served.name}.curve"] = np.array(curve)
    place.save({name: array.astype(np.float32) for name, array in arrays.items()})


def descend(form: Form, data: Data, epochs: int, decay: float) -> tuple[Weights, list[float]]:
    """Weights after so many epochs of AdamW, and the held-out loss after each."""
    chance, weights = np.random.default_rng(1), fresh(form)
    steps = {name: Adam(array, RATE, decay) for name, array in weights.items()}
    inputs, targets = data.seen
    curve = []
    for _ in range(epochs):
        order = chance.permutation(len(inputs))
        for batch in np.array_split(order, -(-len(order) // BATCH)):
            found = gradients(form, weights, inputs[batch], targets[batch])
            for name, step in steps.items():
                weights[name] = step.after(weights[name], found[name])
        _, outputs = forward(form, weights, data.held_out[0])
        curve.append(loss(form, outputs, data.held_out[1]))
    return weights, curve


class Adam:
    """Steps for one array: the mean gradient over the root of the mean squared one."""

    def __init__(self, array: Floats, rate: float, decay: float) -> None:
        self._rate, self._decay = rate, decay
        self._mean, self._square = np.zeros_like(array), np.zeros_like(array)
        self._steps = 0

    def after(self, array: Floats, gradient: Floats) -> Floats:
        """The array, one step further."""
        self._steps += 1
        self._mean += 0.1 * (gradient - self._mean)
        self._square += 0.001 * (gradient**2 - self._square)
        mean = self._mean / (1 - 0.9**self._steps)
        square = self._square / (1 - 0.999**self._steps)
        shrunk = array * (1 - self._rate * self._decay)
        return shrunk - self._rate * mean / (np.sqrt(square) + 1e-8)
