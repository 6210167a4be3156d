"""Back-propagation through time, over the years up to 1920."""

import torch

from zoo.common.place import Place
from zoo.rnn.data import SEEN_UNTIL, read
from zoo.rnn.network import Elman

STEPS = 300
YEARS = 60
"""Of one stretch: the gradient goes so far back."""


def train(place: Place) -> None:
    """Write the weights."""
    torch.manual_seed(3)
    years, spots = read()
    seen = torch.from_numpy(spots[years <= SEEN_UNTIL])
    network = Elman()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=1e-2)
    steps = 3 if place.quick else STEPS
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        starts = torch.randint(0, len(seen) - YEARS, (16,))
        stretches = torch.stack([seen[start : start + YEARS] for start in starts])
        optimizer.zero_grad()
        _loss(network, stretches).backward()
        _shorten(network)
        optimizer.step()
        schedule.step()
    place.save({name: array.numpy() for name, array in network.state_dict().items()})


def _shorten(network: Elman) -> None:
    """Keep a step short where the gradient, multiplied year by year, has grown."""
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)


def _loss(network: Elman, stretches: torch.Tensor) -> torch.Tensor:
    """The mean squared error of roots, over stretches [n, years, 1], after a while to warm up."""
    state = torch.zeros(len(stretches), network.state.in_features)
    errors = []
    for year in range(stretches.shape[1] - 1):
        forecast, state = network(stretches[:, year], state)
        errors.append(((forecast + 1).sqrt() - (stretches[:, year + 1] + 1).sqrt()) ** 2)
    return torch.stack(errors[8:]).mean()
