"""An Elman network: one step, and all steps of a series."""

import torch
from torch import Tensor, nn

HIDDEN = 24


class Elman(nn.Module):
    """This year's sunspots and the state -> a forecast of the next year's, and the next state."""

    def __init__(self, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.inputs = nn.Linear(1, hidden)
        self.state = nn.Linear(hidden, hidden, bias=False)
        self.change = nn.Linear(hidden, 1)

    def forward(self, spots: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """*spots* [batch, 1], *state* [batch, hidden] -> forecast [batch, 1], state.

        Numbers of spots are made small by their root, which also evens out their noise.
        """
        small = spots.clamp(min=0).sqrt() / 10
        following = torch.tanh(self.inputs(small) + self.state(state))
        forecast = (small + self.change(following)).clamp(min=0)
        return (10 * forecast) ** 2, following

    def series(self, spots: Tensor) -> Tensor:
        """Forecasts [years, 1], each made from the years [years, 1] up to its place."""
        state = torch.zeros(1, self.state.in_features)
        found = []
        for year in spots:
            forecast, state = self(year[None], state)
            found.append(forecast[0])
        return torch.stack(found)
