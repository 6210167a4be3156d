"""Ask each served network about held-out data; draw how its loss fell."""

import numpy as np

from penstock.client import Client
from zoo.common.drawing import COLOURS, GREY, INK, figure, svg
from zoo.common.place import Place
from zoo.common.results import Exhibit, Goal, Picture, at_least, at_most
from zoo.feedforward.data import NETWORKS, Served, read
from zoo.feedforward.network import ACTIVATIONS, LOSSES, Floats, autograd, fresh, gradients


def show(url: str, place: Place) -> Exhibit:
    """Accuracy and R² through the cluster, gradients against autograd, curves and digits."""
    answers = {}
    with Client(url) as client:
        for served in NETWORKS:
            rows = read(served.data).held_out[0].astype(np.float32)
            found = client.infer(served.model, {"features": rows}, version=served.version)
            answers[served.name] = found["outputs"]
    digits = [accuracy(one, answers[one.name]) for one in NETWORKS if one.data == "digits"]
    *_, cancer, diabetes = NETWORKS
    goals = [
        at_least("digits: accuracy of the best network", max(digits), 0.96),
        at_least("breast cancer: accuracy", accuracy(cancer, answers[cancer.name]), 0.95),
        at_least("diabetes: R²", r_squared(diabetes, answers[diabetes.name]), 0.4),
        _gradients_agree(),
    ]
    return Exhibit(goals, [_curves(place, digits), _mistakes(answers[NETWORKS[-3].name])])


def accuracy(served: Served, outputs: Floats) -> float:
    """The share of held-out rows whose class is right."""
    targets = read(served.data).held_out[1]
    return float(np.mean(outputs.argmax(axis=1) == targets.argmax(axis=1)))


def r_squared(served: Served, outputs: Floats) -> float:
    """The share of the held-out targets' variance that is explained."""
    targets = read(served.data).held_out[1]
    return 1 - float(np.mean((outputs - targets) ** 2) / np.var(targets))


def _gradients_agree() -> Goal:
    """The largest difference between the gradients by hand and PyTorch's, of all networks."""
    largest = 0.0
    for served in NETWORKS:
        inputs, targets = (part[:50] for part in read(served.data).seen)
        weights = fresh(served.form, seed=3)
        ours = gradients(served.form, weights, inputs, targets)
        theirs = autograd(served.form, weights, inputs, targets)
        largest = max(largest, *(float(np.abs(ours[n] - theirs[n]).max()) for n in ours))
    return at_most("back-propagation by hand against autograd", largest, 1e-5)


def _curves(place: Place, accuracies: list[float]) -> Picture:
    weights = place.load()
    drawn, axes = figure(7.5, 2.8, columns=2)
    colours = dict(zip(ACTIVATIONS, COLOURS, strict=False))
    for served in NETWORKS[:6]:
        axis = axes[0, LOSSES.index(served.form.loss)]
        curve = weights[f"{served.name}.curve"]
        share = accuracies[served.version - 1]
        label = f"{served.form.activation} ({share:.1%})"
        axis.plot(
            range(1, len(curve) + 1), curve, color=colours[served.form.activation], label=label
        )
    for axis, title in zip(axes[0], ("mean squared error", "cross-entropy"), strict=True):
        axis.set(title=title, xlabel="epoch", yscale="log")
        axis.legend(frameon=False)
    text = "The loss on digits that training never sees, and in brackets the accuracy as served."
    return Picture("How the loss falls, by activation", text, svg(drawn))


def _mistakes(outputs: Floats) -> Picture:
    """A row of digits, the wrongly read ones first."""
    data = read("digits")
    right = data.held_out[1].argmax(axis=1)
    said = outputs.argmax(axis=1)
    order = np.argsort(said == right, kind="stable")[:14]
    drawn, axes = figure(7.5, 1.1, columns=len(order))
    for axis, place in zip(axes[0], order, strict=True):
        axis.imshow(data.held_out[0][place].reshape(8, 8), cmap="Greys")
        wrong = said[place] != right[place]
        title = f"{said[place]}, not {right[place]}" if wrong else str(said[place])
        axis.set_title(title, fontsize=7, color=COLOURS[1] if wrong else INK)
        axis.set(xticks=[], yticks=[])
        axis.tick_params(color=GREY)
    text = "Held-out digits as the served network with ReLU and cross-entropy reads them."
    return Picture("What it gets wrong", text, svg(drawn))
