"""A network with one hidden layer: forward, loss and back-propagation in numpy; its torch twin."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Floats = npt.NDArray[np.floating]
Weights = dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Activation:
    """f, and its derivative written in terms of f's own value."""

    value: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    torch: Callable[[Tensor], Tensor]


ACTIVATIONS = {
    "sigmoid": Activation(lambda x: 1 / (1 + np.exp(-x)), lambda h: h * (1 - h), torch.sigmoid),
    "tanh": Activation(np.tanh, lambda h: 1 - h * h, torch.tanh),
    "relu": Activation(lambda x: np.maximum(x, 0), lambda h: (h > 0).astype(h.dtype), torch.relu),
}
LOSSES = ("mse", "cross_entropy")


@dataclass(frozen=True, slots=True)
class Form:
    """What a network is like.

    Attributes:
        loss: mean squared error of the outputs, or cross-entropy of their softmax.
    """

    inputs: int
    hidden: int
    outputs: int
    activation: str
    loss: str


def fresh(form: Form, seed: int = 0) -> Weights:
    """Weights small enough that no activation is in its flat part."""
    chance = np.random.default_rng(seed)

    def layer(outputs: int, inputs: int) -> Floats:
        return chance.normal(0, inputs**-0.5, (outputs, inputs))

    return {
        "hidden.weight": layer(form.hidden, form.inputs),
        "hidden.bias": np.zeros(form.hidden),
        "outputs.weight": layer(form.outputs, form.hidden),
        "outputs.bias": np.zeros(form.outputs),
    }


def forward(form: Form, weights: Weights, x: Floats) -> tuple[Floats, Floats]:
    """Hidden values [n, hidden] and outputs [n, outputs] of inputs [n, inputs]."""
    f = ACTIVATIONS[form.activation]
    hidden = f.value(x @ weights["hidden.weight"].T + weights["hidden.bias"])
    return hidden, hidden @ weights["outputs.weight"].T + weights["outputs.bias"]


def softmax(outputs: Floats) -> Floats:
    """Probabilities along the last dimension."""
    risen = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    return risen / risen.sum(axis=-1, keepdims=True)


def loss(form: Form, outputs: Floats, targets: Floats) -> float:
    """Of outputs against targets [n, outputs]: one-hot classes, or values."""
    if form.loss == "mse":
        return float(np.mean((outputs - targets) ** 2))
    return float(-np.mean(np.sum(targets * np.log(softmax(outputs) + 1e-12), axis=1)))


def gradients(form: Form, weights: Weights, x: Floats, targets: Floats) -> Weights:
    """The loss's derivative by each weight: the chain rule, from the last layer to the first."""
    hidden, outputs = forward(form, weights, x)
    if form.loss == "mse":
        by_outputs = 2 * (outputs - targets) / outputs.size
    else:
        by_outputs = (softmax(outputs) - targets) / len(x)
    by_hidden = by_outputs @ weights["outputs.weight"]
    by_sums = by_hidden * ACTIVATIONS[form.activation].slope(hidden)
    return {
        "hidden.weight": by_sums.T @ x,
        "hidden.bias": by_sums.sum(axis=0),
        "outputs.weight": by_outputs.T @ hidden,
        "outputs.bias": by_outputs.sum(axis=0),
    }


class Twin(nn.Module):
    """The same network in PyTorch."""

    def __init__(self, form: Form, weights: Weights) -> None:
        super().__init__()
        self.form = form
        self.hidden = nn.Linear(form.inputs, form.hidden)
        self.outputs = nn.Linear(form.hidden, form.outputs)
        self.load_state_dict({name: torch.as_tensor(array) for name, array in weights.items()})

    def sums(self, features: Tensor) -> Tensor:
        """What the loss is computed of."""
        activation = ACTIVATIONS[self.form.activation].torch
        found: Tensor = self.outputs(activation(self.hidden(features)))
        return found

    def forward(self, features: Tensor) -> Tensor:
        """Probabilities after cross-entropy, values as they are after MSE."""
        sums = self.sums(features)
        return sums if self.form.loss == "mse" else sums.softmax(dim=1)


def autograd(form: Form, weights: Weights, x: Floats, targets: Floats) -> Weights:
    """The same gradients, found by PyTorch."""
    twin = Twin(form, weights).double()
    sums, aims = twin.sums(torch.from_numpy(x)), torch.from_numpy(targets)
    if form.loss == "mse":
        nn.functional.mse_loss(sums, aims).backward()
    else:
        nn.functional.cross_entropy(sums, aims).backward()
    return {name: weight.grad.numpy() for name, weight in twin.named_parameters()}
