"""Three data sets of scikit-learn: digits, breast cancer, diabetes; and the networks for them."""

from dataclasses import dataclass

import numpy as np

from zoo.feedforward.network import ACTIVATIONS, LOSSES, Floats, Form

SEED = 7


@dataclass(frozen=True, slots=True)
class Data:
    """Standardized inputs [n, features] and targets [n, outputs], of which a part is held out."""

    seen: tuple[Floats, Floats]
    held_out: tuple[Floats, Floats]


def read(name: str) -> Data:
    """The data set *name*: a fifth of it, drawn at random, is held out."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    loaded = getattr(datasets, f"load_{name}")()
    classes = None if name == "diabetes" else loaded.target
    split = train_test_split(
        loaded.data, loaded.target, test_size=0.2, random_state=SEED, stratify=classes
    )
    x, x_held, y, y_held = (np.asarray(part, np.float64) for part in split)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 0.1 * x.std()
    return Data(
        ((x - mean) / deviation, _targets(y, y, classes)),
        ((x_held - mean) / deviation, _targets(y_held, y, classes)),
    )


def _targets(y: Floats, seen: Floats, classes: object) -> Floats:
    """Rows with a one at the class; values standardized as those seen."""
    if classes is None:
        return ((y - seen.mean()) / seen.std())[:, None]
    return np.eye(int(seen.max()) + 1)[y.astype(int)]


@dataclass(frozen=True, slots=True)
class Served:
    """A network and the model version that serves it."""

    model: str
    version: int
    data: str
    form: Form

    @property
    def name(self) -> str:
        """As its weights are called."""
        return f"{self.model}.{self.version}"


NETWORKS = [
    *(
        Served("ff_digits", version, "digits", Form(64, 32, 10, activation, loss))
        for version, (activation, loss) in enumerate(
            ((activation, loss) for activation in ACTIVATIONS for loss in LOSSES), 1
        )
    ),
    Served("ff_cancer", 1, "breast_cancer", Form(30, 12, 2, "tanh", "cross_entropy")),
    Served("ff_diabetes", 1, "diabetes", Form(10, 8, 1, "tanh", "mse")),
]
